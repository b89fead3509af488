"""Crystals through the source design and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.model.batch import CrystalTensors, evaluation_batches
from variolite.crystals.source.loading import niggli
from variolite.crystals.source.network import SourceModule
from variolite.crystals.source.objective import draw

__all__ = ["reconstruct"]


@torch.no_grad()
def reconstruct(
    module: SourceModule, crystals: Crystals, *, noise_seed: int | None = None
) -> Crystals:
    """Encode and decode crystals.

    Parameters
    ----------
    module
        A trained model; it is put into evaluation mode.
    crystals
        In any cell.
    noise_seed
        None takes the mean of the latents. A seed draws them, as the source does when it
        validates.

    Returns
    -------
    Crystals
        In the order, cell and orientation of the input; an element that was not found among
        the known ones becomes hydrogen, as in the source.

    Raises
    ------
    DataError
        If an element is not in the model's table.
    """
    module.eval()
    frame = niggli(crystals, module.architecture.elements)
    reduced = frame.crystals
    device = next(module.parameters()).device
    tensors = CrystalTensors.of(reduced, device)
    species = np.zeros_like(reduced.species)
    coordinates = np.zeros_like(reduced.coordinates)
    lattices = np.zeros_like(reduced.lattices)
    for batch in evaluation_batches(tensors, module.architecture.latent, noise_seed=noise_seed):
        # Without a seed the noise is zero, and a draw is the mean.
        found = module.output(draw(module.infer(batch), batch.noise)[0], batch.layout)
        order = batch.order.cpu().numpy()
        atoms = reduced.atoms_of(order)
        species[atoms] = found.species_logits.argmax(-1).clamp(min=1).cpu().numpy()
        coordinates[atoms] = _numbers(found.coordinates)
        lattices[order] = _numbers(module.cells(found, batch.layout.counts))
    rebuilt = Crystals(
        species=species,
        coordinates=coordinates,
        lattices=lattices,
        offsets=reduced.offsets,
        names=reduced.names,
    )
    return frame.restore(rebuilt, crystals)


def _numbers(values: torch.Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.double().cpu().numpy()
    return found
