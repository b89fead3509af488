"""The fitted prior of a crystal VAE: what is proposed, and latents for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from variolite.crystals.evaluation.contacts import Contacts
from variolite.crystals.latent.atom_counts import AtomCounts
from variolite.crystals.latent.composition import sample_compositions
from variolite.crystals.latent.composition_network import CompositionNetwork
from variolite.crystals.latent.known import Known, Vocabulary
from variolite.crystals.latent.standardise import LatentStatistics
from variolite.crystals.latent.where import Where
from variolite.crystals.latents import Latents

__all__ = ["Density", "LatentPrior"]


class Density(Protocol):
    """Distribution of the standardised latents of crystals of which some facts are known."""

    @property
    def kind(self) -> str:
        """``mixture``, ``flow`` or ``diffusion``."""
        ...

    @property
    def latent(self) -> int:
        """Dimensions of the latent of an atom."""
        ...

    def to(self, device: torch.device) -> None:
        """Move to another device."""
        ...

    def sample(
        self, known: Known, *, seed: int, temperature: float, guidance: float, steps: int
    ) -> NDArray[np.float32]:
        """Draw latents, shape (N, L)."""
        ...


@dataclass(frozen=True)
class LatentPrior:
    """All that generation needs besides the decoder.

    Attributes
    ----------
    vocabulary
        Conditions it was fitted with.
    statistics
        Of the latents, dimension by dimension.
    counts
        Model of the number of atoms.
    compositions
        Model of the elements.
    density
        Of latents, given size, elements and further conditions.
    volumes
        Smallest and largest volume per atom of a training crystal, cubic Angstrom.
    contacts
        How close atoms of every two elements come in the training crystals.
    provenance
        How it was fitted, JSON-able.
    """

    vocabulary: Vocabulary
    statistics: LatentStatistics
    counts: AtomCounts
    compositions: CompositionNetwork
    density: Density
    volumes: tuple[float, float]
    contacts: Contacts
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def latent(self) -> int:
        """Dimensions of the latent of an atom."""
        return len(self.statistics.location)

    def to(self, device: torch.device) -> None:
        """Move the density to another device, where it has a network to move."""
        self.density.to(device)

    def propose(self, number: int, where: Where | None = None, *, seed: int = 0) -> Known:
        """Draw sizes and elements that meet the conditions.

        Parameters
        ----------
        number
            Crystals wanted.
        where
            Conditions; none by default.
        seed
            Of the draws.

        Raises
        ------
        DataError
            If no number of atoms can meet the conditions.
        """
        where = where or Where()
        properties = where.properties
        if not len(properties):
            properties = np.full(len(self.vocabulary.properties), np.nan)
        if where.atoms is not None:
            counts = np.full(number, where.atoms, dtype=np.int64)
        else:
            chances = self.counts.probabilities(
                space_group=where.space_group,
                properties=properties,
                multiple_of=where.size,
                at_least=len(where.elements),
            )
            random = np.random.default_rng((seed, 4))
            counts = random.choice(len(chances), number, p=chances).astype(np.int64)
        free = Known(
            counts=counts,
            species=np.zeros(int(counts.sum()), dtype=np.int64),
            space_groups=np.full(number, where.space_group, dtype=np.int64),
            properties=np.tile(properties, (number, 1)),
        )
        if where.formula is not None:
            unit = np.repeat(list(where.formula), list(where.formula.values()))
            species = np.concatenate([np.repeat(unit, n // where.size) for n in counts])
        else:
            species = sample_compositions(
                self.compositions,
                free,
                self.vocabulary,
                elements=where.elements,
                others=where.others,
                seed=seed,
            )
        return replace(free, species=species)

    def sample(
        self,
        known: Known,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        guidance: float = 1.0,
        steps: int = 10,
    ) -> Latents:
        """Draw latents of crystals of which some facts are known, ready for the decoder.

        Parameters
        ----------
        known
            What was proposed, or is wanted.
        seed
            Of the draws.
        temperature
            Below 1: closer to the middle of what is likely, and less varied.
        guidance
            Above 1: conditions weigh more than they were learned to.
        steps
            Of the sampler, where the prior has one.
        """
        drawn = self.density.sample(
            known, seed=seed, temperature=temperature, guidance=guidance, steps=steps
        )
        names = np.array([f"generated-{i}" for i in range(len(known))], dtype=np.str_)
        return Latents(self.statistics.restored(drawn), None, known.offsets, names)
