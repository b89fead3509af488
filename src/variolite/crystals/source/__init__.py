"""The source design rebuilt from its description, to be compared with and for nothing else."""

from variolite.crystals.source.architecture import SIZES, SourceArchitecture
from variolite.crystals.source.loading import niggli
from variolite.crystals.source.network import SourceModule
from variolite.crystals.source.objective import DIVERGENCE_WEIGHT, SourceWeights
from variolite.crystals.source.reconstruction import reconstruct
from variolite.crystals.source.training import (
    SHARES,
    Budget,
    Snapshot,
    constant_rate,
    train_within,
)

__all__ = [
    "DIVERGENCE_WEIGHT",
    "SHARES",
    "SIZES",
    "Budget",
    "Snapshot",
    "SourceArchitecture",
    "SourceModule",
    "SourceWeights",
    "constant_rate",
    "niggli",
    "reconstruct",
    "train_within",
]
