"""The ablations: which there are, and how one takes part in a run of the contest.

Every variant starts from the weights of the full model, as far as it has them, and sees the
same batches with the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from benchmarks.crystals.ablations_variants import (
    AsGiven,
    BareCells,
    Indexed,
    NoSkips,
    Padded,
    PlainCoordinates,
    Variant,
)
from benchmarks.crystals.one_run import Run
from benchmarks.crystals.opponents import (
    LATENT,
    OPPONENTS,
    OURS_IN_FLOAT32,
    SIZES,
    Contestant,
    Opponent,
    equal_recipe,
)
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.geometry.frame import Frame
from variolite.crystals.model import CrystalBatch, CrystalBatches, CrystalModule
from variolite.crystals.model.batch import evaluation_batches
from variolite.crystals.model.network import bf16_is_fast
from variolite.crystals.run import build


@dataclass(frozen=True)
class Ablation:
    """One change of the full model.

    Attributes
    ----------
    title
        For the tables.
    change
        What is different, for the list above them.
    kind
        The network.
    opponent
        Its recipe.
    """

    title: str
    change: str
    kind: type[Variant]
    opponent: Opponent = OPPONENTS["ours"]


FULL = "full"

ABLATIONS: Mapping[str, Ablation] = {
    FULL: Ablation("full model", "as `variolite fit` trains it", Variant),
    "plain_coordinates": Ablation(
        "minus periodic loss",
        "three bare numbers for every atom, squared difference to coordinates in [0, 1)",
        PlainCoordinates,
    ),
    "bare_cells": Ablation(
        "minus positive-volume head",
        "lengths and angles as bare outputs, not standardised, squared errors with the weights "
        "of the source; six numbers that make no cell count as a failure",
        BareCells,
    ),
    "index": Ablation(
        "plus index embedding",
        "a learned vector for the place of an atom in its file, added before either transformer",
        Indexed,
    ),
    "as_given": Ablation(
        "minus canonical frame", "cells and origins as the file has them", AsGiven
    ),
    "no_straight_ways": Ablation(
        "minus skip connections", "no linear maps round encoder and decoder", NoSkips
    ),
    "float32": Ablation(
        "minus rounding to bfloat16", "matrix products in float32", Variant, OURS_IN_FLOAT32
    ),
}
"""Name in the files to what it is."""

PADDED = Ablation(
    "minus bucketing by size",
    "crystals filled up with empty places to the largest of the batch",
    Padded,
)


class Ablated(Contestant):
    """A variant with its training crystals."""

    @torch.no_grad()
    def encode(self, crystals: Crystals) -> Latents:
        """Posterior of every atom, in the order of the input."""
        module, framed = self._seen(crystals)
        mean = np.empty((len(crystals.species), LATENT), np.float32)
        log_variance = np.empty_like(mean)
        for batch in _batches(framed.crystals):
            posterior = module.infer(batch)
            atoms = crystals.atoms_of(batch.order.numpy())
            mean[atoms] = posterior.mean[0].numpy()
            log_variance[atoms] = posterior.clamped_log_variance[0].numpy()
        return Latents(mean, log_variance, crystals.offsets, crystals.names)

    def reconstruct(self, crystals: Crystals) -> Crystals:
        """Decode the means of the latents; an impossible cell leaves nothing of a crystal."""
        found, possible = self.decoded(crystals)
        found.lattices[~possible] = np.nan
        found.coordinates[~possible[found.owner]] = np.nan
        return found

    @torch.no_grad()
    def decoded(self, crystals: Crystals) -> tuple[Crystals, NDArray[np.bool_]]:
        """Decode the means of the latents, in the given cells, and say which are possible."""
        module, frame = self._seen(crystals)
        species = np.empty_like(crystals.species)
        coordinates = np.empty((len(species), 3))
        lattices = np.empty((len(crystals), 3, 3))
        possible = np.empty(len(crystals), bool)
        table = np.array(module.elements, np.uint8)
        for batch in _batches(frame.crystals):
            decoded = module.generate(module.infer(batch).mean[0], batch.layout)
            assert decoded.species_logits is not None
            order = batch.order.numpy()
            atoms = crystals.atoms_of(order)
            species[atoms] = table[decoded.species_logits.argmax(1).numpy()]
            coordinates[atoms] = module.coordinates(decoded).double().numpy()
            lattices[order], possible[order] = module.cells(decoded, batch.layout)
        rebuilt = Crystals(species, coordinates, lattices, crystals.offsets, crystals.names)
        return frame.restore(rebuilt, crystals), possible

    def _seen(self, crystals: Crystals) -> tuple[Variant, Frame]:
        assert isinstance(self.module, Variant)
        self.module.eval()
        return self.module, self.module.frame(crystals)


def _batches(crystals: Crystals) -> list[CrystalBatch]:
    tensors = CrystalBatch.of(crystals, torch.device("cpu"))
    return list(evaluation_batches(tensors, LATENT, noise_seed=None))


def ablated(ablation: Ablation, run: Run, train: Crystals, batch: int) -> Ablated:
    """Build a variant as `contestant` builds an opponent, from the weights of the full model."""
    recipe = equal_recipe(run.set_name, ablation.opponent, SIZES[run.size], train, run.seed)
    frame = ablation.kind.frame(train)
    full = build(recipe, frame.crystals)
    assert isinstance(full, CrystalModule)
    module = ablation.kind(full.architecture, full.weights, full.elements, seed=run.seed)
    module.load_state_dict(full.state_dict(), strict=False)
    device = torch.device("cpu")
    module.use_bf16(recipe.training.precision == "auto" and bf16_is_fast(device))
    tensors = CrystalBatch.of(frame.crystals, device)
    return Ablated(module, recipe, frame, CrystalBatches(tensors, batch, LATENT, run.seed))
