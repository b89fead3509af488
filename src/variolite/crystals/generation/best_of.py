"""Of several draws of each crystal, the one of lowest energy by a potential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.elements import compositions
from variolite.crystals.evaluation.stability import Energies
from variolite.crystals.generation.conditions import Conditions, Floats, Integers
from variolite.crystals.generation.sampling import (
    AT_ONCE,
    NEAR_SYMMETRY,
    Sampling,
    draw,
    precision_of,
    reject_reasons,
)
from variolite.crystals.generation.symmetrise import symmetrised
from variolite.crystals.generation.where import parse_where
from variolite.training.device import seed_of
from variolite.training.workers import Progress

if TYPE_CHECKING:
    from variolite.crystals.crystal_model import CrystalModel


class Lowest(NamedTuple):
    """Crystals that were kept, energies of the first draws and of these in eV/atom, and which draw
    each is, 0 the first, (B,)."""

    crystals: Crystals
    first: Floats
    energies: Floats
    draw: Integers


def lowest_of(
    model: CrystalModel,
    crystals: Crystals,
    draws: int,
    energies: Energies,
    sampling: Sampling = Sampling(),
    *,
    log: Callable[[str], None] = lambda _: None,
) -> Lowest:
    """Draw generated crystals again, to ``draws`` in all, and keep the lowest energy of each.

    Energies of different compositions cannot be compared: a further draw counts if it has the
    composition of the first one, and none of `reject_reasons`. All are made symmetric first,
    within ``sampling.symmetrise``, 0.3 Angstrom by default. Where no draw has an energy, NaN, the
    first one stays.
    """
    prior = model.prior
    assert prior is not None
    where = parse_where(sampling.where, prior.vocabulary)
    precision = precision_of(sampling, NEAR_SYMMETRY)

    def decode(latents: Latents, species: Integers) -> Crystals:
        return model.decode(latents, species=species if model.species_given else None)

    parts, progress = [], Progress(f"lowest of {draws}", len(crystals), log)
    for places in np.array_split(np.arange(len(crystals)), -(-len(crystals) * draws // AT_ONCE)):
        some, number = crystals.take(places), len(places)
        known = Conditions(
            some.counts,
            some.species.astype(np.int64),
            np.full(number, where.space_group),
            np.tile(where.properties, (number, 1)),
        ).take(np.tile(np.arange(number), draws - 1))
        # Every draw has a space group of its own.
        key = 7, int(places[0])
        again = prior.with_groups(known, seed=seed_of(sampling.seed, *key))
        further = draw(decode, prior, again, where, sampling, *key)
        # All draws of each crystal, (draws, number), the first draw first.
        drawn = Crystals.concatenate([replace(some, properties={}), further])
        drawn = symmetrised(drawn, precision)[0] if precision else drawn
        valid = (compositions(drawn) == np.tile(compositions(some), (draws, 1))).all(axis=1)
        valid &= reject_reasons(drawn, prior, where) == ""
        found = np.full(len(drawn), np.nan)
        found[valid] = energies(drawn.take(valid))
        table = found.reshape(draws, number)
        best = np.where(np.isfinite(table), table, np.inf).argmin(axis=0)
        lowest, chosen = table[best, np.arange(number)], best * number + np.arange(number)
        # A first draw that symmetry spoiled, without any other, stays as it was.
        kept = [
            drawn[c] if np.isfinite(e) else some[i]
            for i, (c, e) in enumerate(zip(chosen, lowest, strict=True))
        ]
        parts.append((Crystals.of(kept), table[0], lowest, best))
        progress.add(number)
    made, *columns = zip(*parts, strict=True)
    whole = replace(
        Crystals.concatenate(made), names=crystals.names, properties=crystals.properties
    )
    return Lowest(whole, *(np.concatenate(column) for column in columns))
