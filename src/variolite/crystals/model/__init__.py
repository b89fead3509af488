"""The crystal VAE as a network: batches, geometry, transformers and the objective."""

from variolite.crystals.model.batch import (
    AtomBatch,
    CrystalBatches,
    CrystalTensors,
    Layout,
    evaluation_batches,
)
from variolite.crystals.model.network import (
    CrystalArchitecture,
    CrystalModule,
    Decoded,
    LossWeights,
    PartsByName,
    Shares,
)

__all__ = [
    "AtomBatch",
    "CrystalArchitecture",
    "CrystalBatches",
    "CrystalModule",
    "CrystalTensors",
    "Decoded",
    "Layout",
    "LossWeights",
    "PartsByName",
    "Shares",
    "evaluation_batches",
]
