"""Places for the crystals that are wanted: one proposal each, drawn again until it comes out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.latent.known import Known
from variolite.crystals.latent.prior import LatentPrior
from variolite.crystals.latent.where import Where

__all__ = ["STUBBORN", "Slots"]

Integers = NDArray[np.int64]

STUBBORN = 8
"""Attempts after which a place is given another size and composition."""


class Slots:
    """Sizes and compositions of the crystals that are wanted, and which are still missing.

    A place keeps its size and composition while its latents are drawn again. If every
    attempt took new ones, large cells, of which more are turned away, would be too few
    among the crystals that are left.

    Parameters
    ----------
    prior
        Proposes sizes and compositions.
    number
        Crystals wanted.
    asked
        Conditions.
    seed
        Of the proposals.
    """

    def __init__(self, prior: LatentPrior, number: int, asked: Where, seed: int) -> None:
        self._prior, self._asked, self._seed = prior, asked, seed
        self._proposals = prior.propose(number, asked, seed=seed)
        self._proposal = np.arange(number)
        self._failures = np.zeros(number, dtype=np.int64)
        self.missing: Integers = np.arange(number)

    def attempt(self, copies: int, most: int) -> tuple[Integers, Known]:
        """Return places to be tried, ``copies`` times each and ``most`` in all, and their facts."""
        places = np.repeat(self.missing[: max(1, most // copies)], copies)[:most]
        return places, self._proposals.take(self._proposal[places])

    def fill(self, tried: Integers, valid: NDArray[np.bool_]) -> tuple[Integers, Integers]:
        """Take note of an attempt.

        Parameters
        ----------
        tried
            Places, as `attempt` gave them, shape (A,).
        valid
            Which of them came out, shape (A,).

        Returns
        -------
        filled
            Places that are filled now, shape (F,).
        chosen
            The first valid attempt at each, shape (F,).
        """
        good = np.flatnonzero(valid)
        filled, first = np.unique(tried[good], return_index=True)
        np.add.at(self._failures, tried[~valid], 1)
        failed = np.setdiff1d(tried, filled)
        # Those that failed go to the end of the line.
        waiting = self.missing[~np.isin(self.missing, tried)]
        self.missing = np.concatenate([waiting, failed])
        self._renew(failed[self._failures[failed] >= STUBBORN])
        return filled, good[first]

    def _renew(self, stubborn: Integers) -> None:
        if not len(stubborn):
            return
        had = len(self._proposals)
        seed = int(np.random.SeedSequence((self._seed, had)).generate_state(1)[0])
        fresh = self._prior.propose(len(stubborn), self._asked, seed=seed)
        self._proposals = self._proposals.joined(fresh)
        self._proposal[stubborn] = had + np.arange(len(stubborn))
        self._failures[stubborn] = 0
