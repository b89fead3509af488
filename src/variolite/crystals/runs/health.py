"""How healthy the latent space of a crystal model is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.latent import Gap, latent_gap
from variolite.crystals.latents import Latents
from variolite.crystals.runs.model import CrystalModel
from variolite.crystals.structures import Crystals
from variolite.errors import DataError

__all__ = ["CrystalHealth", "crystal_health"]

ACTIVE_NATS = 0.01
"""Mean KL above which a latent dimension counts as active."""

DRAWS = 500
"""Crystals drawn from a prior to see how far it is from the latents."""

FEWEST = 20
"""Crystals below which nothing can be said."""

MOST = 1_000
"""Crystals that are looked at; of larger sets as many are drawn."""


@dataclass(frozen=True)
class CrystalHealth:
    """Latents of some crystals, and what the priors make of them.

    Attributes
    ----------
    divergence
        Mean KL from the standard normal per dimension and atom, nats, shape (L,).
    normal
        Gap between the latents and N(0, 1), which is what samples would be drawn from
        without a fitted prior.
    fitted
        Gap between the latents and the fitted prior; None without one.
    judged
        Number of crystals whose latents these are.
    given
        Number of crystals they were drawn from.
    """

    divergence: tuple[float, ...]
    normal: Gap
    fitted: Gap | None
    judged: int
    given: int

    @property
    def active(self) -> int:
        """Number of latent dimensions in use."""
        return sum(nats > ACTIVE_NATS for nats in self.divergence)

    def lines(self) -> list[str]:
        """Say it in sentences."""
        said = [
            f"{self.active} of {len(self.divergence)} latent dimensions active, "
            f"{sum(self.divergence):.1f} nats per atom in all",
            *(f"  z{i:<3} {nats:6.3f} nats" for i, nats in enumerate(self.divergence)),
            _told("a standard normal", self.normal),
        ]
        if self.judged < self.given:
            said.insert(
                0,
                f"judged by {self.judged:,} of {self.given:,} structures, drawn evenly over their "
                "numbers of atoms",
            )
        if self.fitted is None:
            said.append("advice: fit a prior (`variolite crystals prior`) before generating")
        else:
            said.append(_told("the fitted prior", self.fitted))
        if self.active < len(self.divergence):
            said.append("advice: lower model.latent or loss.divergence: some dimensions are idle")
        return said


def _told(what: str, gap: Gap) -> str:
    return (
        f"draws from {what} lie {gap.crystals:.2f} standard deviations from the latents of whole "
        f"crystals (sampling alone: {gap.crystals_floor:.2f}); a classifier puts "
        f"{gap.told_apart:.0%} on the right side, where 50% is chance"
    )


def crystal_health(model: CrystalModel, crystals: Crystals, *, seed: int = 0) -> CrystalHealth:
    """Judge the latents of some crystals, best ones that the model was not trained on.

    Of more than `MOST` crystals, `MOST` are drawn evenly over their numbers of atoms.

    Raises
    ------
    DataError
        If a crystal that is looked at holds an element that the model was not trained on,
        or there are fewer than 20.
    """
    if len(crystals) < FEWEST:
        raise DataError(
            f"latents cannot be judged by {len(crystals)} structures",
            where="data",
            mend=f"Give {FEWEST} or more",
        )
    looked_at = crystals.take(_evenly(crystals.counts, seed))
    latents = model.encode(looked_at)
    assert latents.log_variance is not None
    mean, log_variance = latents.mean.astype(np.float64), latents.log_variance.astype(np.float64)
    nats = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1.0)
    random = np.random.default_rng(seed)
    drawn = random.standard_normal(latents.mean.shape).astype(np.float32)
    normal = latent_gap(Latents(drawn, None, latents.offsets, latents.names), latents, seed=seed)
    fitted = None
    if model.prior is not None:
        known = model.prior.propose(DRAWS, seed=seed)
        fitted = latent_gap(model.prior.sample(known, seed=seed), latents, seed=seed)
    divergence = tuple(nats.mean(axis=0).tolist())
    return CrystalHealth(divergence, normal, fitted, len(looked_at), len(crystals))


def _evenly(counts: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw one crystal from each of `MOST` equal stretches of all, sorted by size; in order."""
    if len(counts) <= MOST:
        return np.arange(len(counts))
    edges = np.linspace(0, len(counts), MOST + 1).astype(np.int64)
    drawn = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
    return np.sort(np.argsort(counts, kind="stable")[drawn])
