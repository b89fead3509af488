"""Exactly as many valid crystals as were asked for, or an error that says why not."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import compositions
from variolite.crystals.evaluation.validity import CUTOFF, MinimumDistances
from variolite.crystals.files.groups import space_groups
from variolite.crystals.generation.conditions import Known, Where, parse_where
from variolite.crystals.generation.prior import LatentPrior
from variolite.crystals.latents import Latents
from variolite.crystals.periodic import has_cell, shortest_distances
from variolite.errors import DataError

# Moving crystals onto the symmetry that they nearly have.
#
# Decoded atoms are a little out of place, so that a crystal which is plainly cubic has
# no symmetry by the letter. The operations come from the tables of the space group that
# spglib finds, carried over to the given cell, and not from the atoms: they form a
# group exactly, and the mean over a group is invariant under it.


Floats = NDArray[np.float64]

_STEPS = np.array(list(product(range(-3, 4), repeat=3)), dtype=np.float64)


def symmetrised(crystals: Crystals, precision: float) -> Crystals:
    """Return crystals with exact symmetry, wherever spglib finds any within a tolerance.

    Numbers and order of atoms stay; a changed cell comes in standard orientation.

    Parameters
    ----------
    crystals
        B structures.
    precision
        Distance in Angstrom by which symmetry may be missed.

    Raises
    ------
    DataError
        If spglib is not installed, or the precision is not positive.
    """
    if not precision > 0.0:
        raise DataError(
            f"a precision of {precision} Angstrom is not positive",
            where="symmetry",
            hint="give 0.1 or 0.3, for instance",
        )
    # spglib writes a line for every tolerance that it tries; what it finds is all we need.
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    try:
        import spglib
    except ImportError:
        raise DataError(
            "symmetry needs spglib", where="spglib", hint="pip install 'variolite[crystals]'"
        ) from None
    if not len(crystals):
        return crystals
    with warnings.catch_warnings():
        # spglib announces that failures will become exceptions; both are handled below.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = Crystals.of([_one(crystal, precision, spglib) for crystal in crystals])
    return replace(found, properties=crystals.properties)


def _one(crystal: Crystal, precision: float, spglib: Any) -> Crystal:
    cell = (crystal.lattice, crystal.coordinates, crystal.species.astype(int))
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=precision)
    except spglib.error.SpglibError:
        dataset = None
    if dataset is None or dataset.number == 1:
        return crystal
    operations = _operations(dataset, spglib)
    if operations is None:
        return crystal
    rotations, translations = operations
    metric = crystal.lattice @ crystal.lattice.T
    positions = _mean_positions(crystal, metric, rotations, translations)
    if positions is None:
        return crystal
    mean = np.einsum("oji,jk,okl->il", rotations, metric, rotations) / len(rotations)
    return Crystal(crystal.species, positions % 1.0, np.linalg.cholesky(mean), crystal.name)


def _operations(dataset: Any, spglib: Any) -> tuple[Floats, Floats] | None:
    """Rotations (O, 3, 3) and translations (O, 3) of column vectors in the given cell.

    With x' = P x + p in the standard cell and x' -> R x' + t there, the given cell has
    x -> (P^-1 R P) x + P^-1 (R p + t - p), and the translations of the standard lattice.
    """
    table = spglib.get_symmetry_from_database(dataset.hall_number)
    change, shift = np.asarray(dataset.transformation_matrix), np.asarray(dataset.origin_shift)
    back = np.linalg.inv(change)
    rotations = back @ table["rotations"] @ change
    whole = np.rint(rotations)
    if np.abs(rotations - whole).max() > 1e-4:
        return None
    translations = (table["rotations"] @ shift + table["translations"] - shift) @ back.T
    lattice = _distinct((_STEPS @ back.T) % 1.0)
    both = (translations[:, None] + lattice) % 1.0
    return np.repeat(whole, len(lattice), axis=0), both.reshape(-1, 3)


def _distinct(translations: Floats) -> Floats:
    """Translations that differ by more than rounding, those near 1 counted as 0."""
    rounded = np.round(translations, 4) % 1.0
    _, first = np.unique(rounded, axis=0, return_index=True)
    return translations[np.sort(first)]


def _mean_positions(
    crystal: Crystal, metric: Floats, rotations: Floats, translations: Floats
) -> Floats | None:
    """Mean over the images of every atom; None where an operation is no permutation."""
    x = crystal.coordinates
    other = crystal.species[:, None] != crystal.species
    sums = np.zeros_like(x)
    for rotation, translation in zip(rotations, translations, strict=True):
        image = x @ rotation.T + translation
        apart = image[:, None] - x
        apart -= np.rint(apart)
        distance = np.einsum("ijk,kl,ijl->ij", apart, metric, apart)
        distance[other] = np.inf
        partner = distance.argmin(axis=1)
        if len(np.unique(partner)) < len(partner):
            return None
        sums[partner] += x[partner] + apart[np.arange(len(x)), partner]
    return np.asarray(sums / len(rotations))


# Places for the crystals that are wanted: one proposal each, drawn again until it comes out.


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


AT_ONCE = 2_048
"""Crystals drawn, decoded and judged at once."""

FEW = 64
"""Missing crystals below which several attempts at each are made at once."""

TRIES = 20
"""Attempts allowed for every crystal wanted."""

SPARE_ATTEMPTS = 200
"""Attempts allowed however few crystals are wanted."""

VOLUME_MARGIN = 1.25
"""How far beyond the volumes per atom of training crystals a crystal may go, as a factor."""

CONTACT_MARGIN = 0.75
"""Atoms may come this much closer than the same two elements do in any training crystal, as a
factor; 99.8 % of the held-out crystals of MP-20 keep to it."""

SYMMETRY_PRECISION = 0.1
"""Tolerance in Angstrom within which a crystal has to have the space group asked for."""

NEAR_SYMMETRY = 0.3
"""Where a space group is asked for, symmetry missed by less than this, in Angstrom, is made
exact: decoded atoms are never exactly in place."""

REASONS: Mapping[str, str] = {
    "no_cell": "no finite cell of positive volume",
    "too_close": f"two atoms closer than {CUTOFF} Angstrom",
    "contact": f"two atoms closer than {CONTACT_MARGIN} of what is known of their elements",
    "volume_per_atom": "volume per atom unlike that of any training crystal",
    "composition": "another composition than asked for",
    "space_group": "another space group than asked for",
}
"""Why a decoded crystal is turned away, by code; the first that holds is counted."""


class Decoder(Protocol):
    """The part of a trained crystal VAE that generation needs."""

    @property
    def species_given(self) -> bool:
        """Whether the decoder is told the elements instead of decoding them."""
        ...

    def decode(self, latents: Latents, *, species: NDArray[np.integer] | None = None) -> Crystals:
        """Turn latents into crystals, in their order."""
        ...


@dataclass(frozen=True)
class Generated:
    """What came of generation.

    Attributes
    ----------
    crystals
        As many as were asked for, all valid.
    attempts
        Crystals decoded until then; ``attempts - sum(rejects.values())`` of them were
        valid, of which the first for each place was taken.
    rejects
        Decoded crystals turned away, by the codes of `REASONS`.
    """

    crystals: Crystals
    attempts: int
    rejects: Mapping[str, int]

    @property
    def valid_share(self) -> float:
        """Share of the attempts that were valid."""
        return 1.0 - sum(self.rejects.values()) / self.attempts


def generate(
    model: Decoder,
    prior: LatentPrior,
    number: int,
    *,
    where: Mapping[str, str | float] | None = None,
    guidance: float = 1.0,
    temperature: float = 1.0,
    steps: int = 10,
    seed: int = 0,
    tries: int = TRIES,
    symmetrise: float | None = None,
    tell: Callable[[str], None] | None = None,
) -> Generated:
    """Generate exactly ``number`` valid crystals.

    Valid: a finite cell of positive volume, no two atoms (images included) closer
    than 0.5 Angstrom or than three quarters of the shortest distance of the same
    two elements in a training crystal, a volume per atom at most a quarter beyond those of
    training crystals, and what was asked for wherever it can be checked: the number of atoms,
    the composition, and the space group (spglib, 0.1 Angstrom, after symmetry missed
    by less than 0.3 Angstrom was made exact). Sizes and compositions are drawn first and
    kept while a crystal is tried again, so that what is often turned away is not rarer
    for it; after eight attempts in vain others are drawn.

    Parameters
    ----------
    model
        Trained VAE.
    prior
        Fitted to its latents.
    number
        Crystals wanted.
    where
        Conditions by name, see `parse_where`.
    guidance, temperature, steps
        See `LatentPrior.sample`.
    seed
        Of everything random.
    tries
        Attempts allowed for every crystal wanted, and 200 more.
    symmetrise
        Make symmetry exact that is missed by less than so many Angstrom, see
        `symmetrised`. By default only where a space group is asked for.
    tell
        Called with the progress.

    Raises
    ------
    DataError
        If a condition cannot be met or understood, if a number is out of its range, or
        if the attempts are used up.
    """
    _require_sensible(number, guidance, temperature, steps, tries, seed)
    asked = parse_where(where or {}, prior.vocabulary)
    allowed = number * tries + SPARE_ATTEMPTS
    slots = Slots(prior, number, asked, seed)
    kept: list[Crystals] = []
    places: list[NDArray[np.int64]] = []
    have = attempts = accepted = 0
    rejects: Counter[str] = Counter()
    began = time.monotonic()
    while have < number:
        if attempts >= allowed:
            raise _used_up(number, have, attempts, rejects, asked)
        share = max((accepted + 1) / (attempts + 1), 0.02)
        # Where few are missing, a try for one costs as much as several.
        copies = min(math.ceil(1.0 / share), STUBBORN) if len(slots.missing) < FEW else 1
        tried, known = slots.attempt(copies, min(AT_ONCE, allowed - attempts))
        own_seed = int(np.random.SeedSequence((seed, attempts)).generate_state(1)[0])
        latents = prior.sample(
            known, seed=own_seed, temperature=temperature, guidance=guidance, steps=steps
        )
        decoded = model.decode(latents, species=known.species if model.species_given else None)
        near = NEAR_SYMMETRY if symmetrise is None and asked.space_group else symmetrise
        decoded = _on_symmetry(decoded, near)
        reasons = judge(decoded, prior.volumes, prior.contacts, asked)
        attempts += len(tried)
        valid = reasons == ""
        rejects.update(str(reason) for reason in reasons[~valid])
        accepted += int(valid.sum())
        filled, chosen = slots.fill(tried, valid)
        kept.append(decoded.take(chosen))
        places.append(filled)
        have += len(filled)
        if tell is not None:
            left = (time.monotonic() - began) / max(have, 1) * (number - have)
            tell(
                f"{have}/{number} crystals, {accepted / attempts:.0%} of {attempts} attempts "
                f"valid, about {left:.0f} s left"
            )
    joined = Crystals.concatenate(kept).take(np.argsort(np.concatenate(places)))
    width = len(str(number - 1))
    names = np.array([f"generated-{place:0{width}}" for place in range(number)], dtype=np.str_)
    return Generated(replace(joined, names=names), attempts, dict(rejects))


def _on_symmetry(crystals: Crystals, precision: float | None) -> Crystals:
    """Make symmetry exact in all crystals that have a cell."""
    if precision is None:
        return crystals
    sound = has_cell(crystals)
    if sound.all():
        return symmetrised(crystals, precision)
    moved = iter(symmetrised(crystals.take(sound), precision))
    joined = [next(moved) if ok else c for ok, c in zip(sound, crystals, strict=True)]
    return replace(Crystals.of(joined), properties=crystals.properties)


def judge(
    crystals: Crystals,
    volumes: tuple[float, float],
    contacts: MinimumDistances,
    asked: Where | None = None,
) -> NDArray[np.str_]:
    """Return the first reason of `REASONS` against every crystal, empty where valid, (B,).

    Parameters
    ----------
    crystals
        Decoded structures.
    volumes
        Smallest and largest volume per atom of the training crystals, cubic Angstrom.
    contacts
        How close atoms come in the training crystals.
    asked
        Conditions; those that can be checked exactly are.
    """
    asked = asked or Where()
    reasons = np.full(len(crystals), "", dtype="<U16")

    def reject(bad: NDArray[np.bool_], code: str) -> None:
        reasons[bad & (reasons == "")] = code

    reject(~has_cell(crystals), "no_cell")
    with np.errstate(invalid="ignore"):
        per_atom = crystals.volumes / crystals.counts
        outside = (per_atom < volumes[0] / VOLUME_MARGIN) | (per_atom > volumes[1] * VOLUME_MARGIN)
    reject(~_has_composition(crystals, asked), "composition")
    reject(outside, "volume_per_atom")
    left = np.flatnonzero(reasons == "")
    if len(left):
        some = crystals.take(left)
        close = np.zeros((2, len(crystals)), dtype=bool)
        close[0, left] = ~(shortest_distances(some) >= CUTOFF)
        close[1, left] = contacts.closeness(some) < CONTACT_MARGIN
        reject(close[0], "too_close")
        reject(close[1], "contact")
    if asked.space_group:
        left = np.flatnonzero(reasons == "")
        other = np.zeros(len(crystals), dtype=bool)
        if len(left):
            found, _ = space_groups(crystals.take(left), symprec=SYMMETRY_PRECISION)
            other[left] = found != asked.space_group
        reject(other, "space_group")
    return reasons


def _has_composition(crystals: Crystals, asked: Where) -> NDArray[np.bool_]:
    fits = np.ones(len(crystals), dtype=bool)
    if asked.atoms is not None:
        fits &= crystals.counts == asked.atoms
    if not asked.elements:
        return np.asarray(fits)
    counts = compositions(crystals, reduced=asked.formula is not None)
    wanted = np.zeros(counts.shape[1], dtype=counts.dtype)
    if asked.formula is not None:
        wanted[list(asked.formula)] = list(asked.formula.values())
        return np.asarray(fits & (counts == wanted).all(axis=1))
    wanted[list(asked.elements)] = 1
    fits &= (counts[:, wanted == 1] > 0).all(axis=1)
    if not asked.others:
        fits &= (counts[:, wanted == 0] == 0).all(axis=1)
    return np.asarray(fits)


def _require_sensible(
    number: int, guidance: float, temperature: float, steps: int, tries: int, seed: int
) -> None:
    for name, value, least in (
        ("the number of crystals", number, 1),
        ("the number of steps", steps, 1),
        ("the number of tries", tries, 1),
        ("the guidance", guidance, 0.0),
        ("the temperature", temperature, 0.0),
        ("the seed", seed, 0),
    ):
        if not (math.isfinite(value) and value >= least):
            raise DataError(f"{name} is {value}, it must be at least {least}", where="generate")


def _used_up(
    number: int, have: int, attempts: int, rejects: Counter[str], asked: Where
) -> DataError:
    told = ", ".join(f"{count} {REASONS[code]}" for code, count in rejects.most_common())
    worst = rejects.most_common(1)[0][0]
    relax = {
        "space_group": "leave out space_group, or raise --guidance or --tries",
        "composition": "raise --guidance, ask for other atoms or elements, or raise --tries",
    }.get(worst, "lower --temperature, raise --steps or --tries, or train the model longer")
    condition = f" with {asked.text}" if asked.text else ""
    return DataError(
        f"only {have} of {number} crystals{condition} were found in {attempts} attempts ({told})",
        where="generate",
        hint=relax,
    )
