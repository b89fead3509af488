"""A trained crystal VAE: structures in, latents, and structures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from variolite.crystals.latent import Generated, LatentPrior, generate
from variolite.crystals.latent.generation import TRIES
from variolite.crystals.latent.properties import PropertyHead
from variolite.crystals.latents import Latents
from variolite.crystals.runs.codec import decode, element_table, encode, framed
from variolite.crystals.structures import Crystals
from variolite.errors import DataError, RunFolderError

__all__ = ["CrystalModel"]


@dataclass(frozen=True)
class CrystalModel:
    """A network with all that belongs to it.

    Attributes
    ----------
    module
        In evaluation mode.
    prior
        Fitted to the latents of the training crystals; None without one.
    properties
        Predicts properties from latents; None without one.
    provenance
        Who made it, from what and how; JSON-able.
    """

    module: nn.Module
    prior: LatentPrior | None = None
    properties: PropertyHead | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def latent(self) -> int:
        """Latent dimensions of an atom."""
        architecture: Any = self.module.architecture
        return int(architecture.latent)

    @property
    def species_given(self) -> bool:
        """Whether the decoder is told the elements instead of decoding them."""
        return bool(getattr(self.module.architecture, "species_given", False))

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that it knows."""
        return tuple(sorted({int(z) for z in element_table(self.module)}))

    def encode(self, crystals: Crystals) -> Latents:
        """Return the posterior of every atom, in the order of the input.

        Neither rotation, origin, order of atoms nor choice of the cell changes the set
        of latents of a crystal. Atoms that a symmetry of the crystal exchanges may
        exchange their latents.

        Raises
        ------
        DataError
            If a crystal holds an element that the model was not trained on.
        """
        return encode(self.module, framed(self.module, crystals).crystals)

    def decode(self, latents: Latents, *, species: NDArray[np.integer] | None = None) -> Crystals:
        """Decode latents, in their order; cells come in standard orientation.

        Parameters
        ----------
        latents
            Means or draws.
        species
            Atomic numbers, shape (N,): needed where the model is told them, and refused
            where it is not.
        """
        if self.species_given != (species is not None):
            raise DataError(
                "this model is told the elements: give species"
                if self.species_given
                else "this model decodes the elements itself: species cannot be given"
            )
        return decode(self.module, latents, species=species)

    def reconstruct(self, crystals: Crystals) -> Crystals:
        """Decode the posterior means, in the given cell, origin, orientation and order.

        Parameters
        ----------
        crystals
            A model that is told the elements takes them from here.
        """
        frame = framed(self.module, crystals)
        latents = encode(self.module, frame.crystals)
        given = crystals.species if self.species_given else None
        return frame.restore(decode(self.module, latents, species=given), crystals)

    def sample(
        self,
        number: int,
        *,
        where: Mapping[str, str | float] | None = None,
        guidance: float = 1.0,
        temperature: float = 1.0,
        steps: int = 10,
        tries: int = TRIES,
        symmetrise: float | None = None,
        seed: int = 0,
        tell: Callable[[str], None] | None = None,
    ) -> Generated:
        """Generate exactly ``number`` valid crystals; see `variolite.crystals.latent.generate`.

        Raises
        ------
        RunFolderError
            If no prior was fitted.
        """
        if self.prior is None:
            raise RunFolderError(
                "the model has no prior to draw from",
                mend="if `variolite fit` was stopped early, give the same command again; "
                "otherwise fit one with `variolite crystals prior RUN --data PATH --set "
                "prior.kind=flow`",
            )
        return generate(
            self,
            self.prior,
            number,
            where=where,
            guidance=guidance,
            temperature=temperature,
            steps=steps,
            tries=tries,
            symmetrise=symmetrise,
            seed=seed,
            tell=tell,
        )
