"""The crystal VAE as a network: batches, geometry, transformers and the objective."""

from variolite.crystals.model.batch import CrystalBatch, CrystalBatches, Layout, evaluation_batches
from variolite.crystals.model.network import CrystalModule, Decoded, ReconstructionTerms

__all__ = [
    "CrystalBatch",
    "CrystalBatches",
    "CrystalModule",
    "Decoded",
    "Layout",
    "ReconstructionTerms",
    "evaluation_batches",
]
