"""chemeleon2 rebuilt from its description, to be compared with."""

from benchmarks.crystals.baseline_chemeleon2.cells import matrix_of, niggli, parameters_of
from benchmarks.crystals.baseline_chemeleon2.layers import (
    SIZES,
    BaselineArchitecture,
    Padding,
)
from benchmarks.crystals.baseline_chemeleon2.network import (
    KL_WEIGHT,
    BaselineModule,
    BaselineWeights,
    reconstruct,
)

__all__ = [
    "KL_WEIGHT",
    "SIZES",
    "BaselineArchitecture",
    "BaselineModule",
    "BaselineWeights",
    "Padding",
    "matrix_of",
    "niggli",
    "parameters_of",
    "reconstruct",
]
