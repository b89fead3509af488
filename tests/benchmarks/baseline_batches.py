"""Textbook crystals as batches of the source design."""

from dataclasses import replace

import numpy as np
import torch
from benchmarks.crystals.baseline_chemeleon2 import BaselineArchitecture, niggli

from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.model.batch import CrystalBatch

TINY = BaselineArchitecture(
    width=16, heads=2, encoder_layers=2, decoder_layers=2, feedforward=32, frequencies=4
)
TINY_MESSAGES = replace(TINY, encoder="cspnet")
CPU = torch.device("cpu")


def batch_of(crystals, latent=8, *, seed=0):
    """A batch of crystals as they stand, with noise that belongs to the atoms by number."""
    tensors = CrystalBatch.of(crystals, CPU)
    batch = tensors.take(np.arange(len(crystals)))
    generator = torch.Generator().manual_seed(seed)
    return replace(batch, noise=torch.randn(len(batch.species), latent, generator=generator))


def mixed(first=0, count=12):
    """Some reduced crystals of several sizes, in ascending order of size."""
    crystals = textbook_crystals()
    order = np.argsort(crystals.counts, kind="stable")[first : first + 4 * count : 4]
    return niggli(crystals.take(order)).crystals


def assert_close(found, expected, *, atol=1e-5):
    """Fail unless shape and values agree."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=atol
    )
