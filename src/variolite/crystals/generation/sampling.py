"""Exactly as many valid crystals as were asked for, by rejection sampling, or an error."""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import COVALENT_RADII
from variolite.crystals.evaluation.validity import CUTOFF, MinimumDistances
from variolite.crystals.files.formats import import_extra
from variolite.crystals.files.groups import space_groups
from variolite.crystals.generation.conditions import Conditions, Integers
from variolite.crystals.generation.prior import LatentPrior
from variolite.crystals.generation.selection import Selection
from variolite.crystals.generation.symmetrise import symmetrised
from variolite.crystals.generation.where import Where, parse_where
from variolite.crystals.geometry.periodic import has_cell, shortest_distances
from variolite.errors import DataError, DataWarning, ShortfallError
from variolite.training.device import seed_of, single_thread

AT_ONCE = 2_048  # crystals drawn, decoded and checked at once
FEW = 64  # missing crystals below which several attempts at each are made at once
SPARE_ATTEMPTS = 1_000  # attempts allowed however few crystals are wanted
KEPT_ATTEMPTS = 3  # unsuccessful attempts after which a crystal gets another composition
MOST_COPIES = 8  # attempts at one crystal made at once
KEPT_SIZES = 5  # compositions, each of them given up, after which it gets another size, too
VOLUME_MARGIN = 1.25  # factor by which volumes per atom may leave those of training crystals
# Atoms may come this much closer than the sum of their covalent radii, and than the same two
# elements do in any training crystal, as a factor; 99 % of the crystals of MP-20 keep to it.
CONTACT_MARGIN = 0.75
SYMMETRY_PRECISION = 0.1  # tolerance in Angstrom for the space group asked for
# Symmetry missed by less than this, in Angstrom, is made exact: decoded atoms are never exactly
# in place. Crystals that have none by then are rejected: 1 % of MP-20 have none.
NEAR_SYMMETRY = 0.3

REASONS: Mapping[str, str] = {
    "no_cell": "no finite cell of positive volume",
    "too_close": f"two atoms closer than {CUTOFF} Angstrom",
    "contact": f"two atoms closer than {CONTACT_MARGIN} of their covalent radii, or of what is "
    "known of their elements",
    "volume_per_atom": "volume per atom unlike that of any training crystal",
    "composition": "another composition than asked for",
    "symmetry": f"no symmetry within {NEAR_SYMMETRY} Angstrom",
    "space_group": "another space group than asked for",
}
"""Why a decoded crystal is rejected, by code; the first that holds is counted."""


@dataclass(frozen=True)
class Sampling:
    """How crystals are generated; a DataError if a number is out of its range.

    ``where`` holds conditions by name, see `parse_where`. ``guidance`` above 1: conditions weigh
    more than they were learned to; 0: not at all. ``temperature`` below 1, as here: closer to the
    middle of what is likely, and less varied. ``steps`` are those of the solver of the flow. For
    every crystal wanted there are ``max_attempts``, and 1,000 more. ``symmetrise`` is the distance
    in Angstrom by which symmetry may be missed and is made exact, see `symmetrised`; 0 for none,
    None for that of `precision_of`. Where fewer are found than asked for, those are returned unless
    ``all_or_nothing``.
    """

    where: Mapping[str, str | float] = field(default_factory=dict)
    guidance: float = 1.0
    temperature: float = 0.5
    steps: int = 6
    seed: int = 0
    max_attempts: int = 20
    symmetrise: float | None = None
    all_or_nothing: bool = True

    def __post_init__(self) -> None:
        _require_at_least("the guidance", self.guidance, 0.0)
        _require_at_least("the temperature", self.temperature, 0.0)
        _require_at_least("the number of steps", self.steps, 1)
        _require_at_least("the seed", self.seed, 0)
        _require_at_least("the number of attempts", self.max_attempts, 1)
        _require_at_least("the tolerance of symmetry", self.symmetrise or 0.0, 0.0)


def _require_at_least(name: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise DataError(f"{name} is {value}, it must be at least {least}", where="generate")


@dataclass(frozen=True)
class Generated:
    """As many valid crystals as were asked for, and what it took.

    Attempts are crystals decoded until then; of those that were not rejected the first for each
    place was taken. Rejects are counted by the codes of `REASONS`. Where there are fewer than were
    asked for, ``shortfall`` says why.
    """

    crystals: Crystals
    attempts: int
    rejects: Mapping[str, int]
    shortfall: ShortfallError | None = None

    @property
    def valid_share(self) -> float:
        """Fraction of the attempts that were valid."""
        return 1.0 - sum(self.rejects.values()) / self.attempts


class Proposals:
    """Sizes and compositions of the crystals that are wanted, and which are still missing.

    ``propose`` draws so many as `LatentPrior.propose` does. A crystal keeps its composition while
    its latents are drawn again, and its size much longer. If every attempt took new ones, large
    cells, of which more are rejected, would be too few among the crystals that are left.
    """

    def __init__(self, propose: Callable[..., Conditions], number: int, seed: int) -> None:
        self._propose, self._seed = propose, seed
        self._proposed = propose(number, seed=seed)
        # Of every place wanted, (number,): which proposal it has, how often that failed, and how
        # many proposals of its size were given up.
        self._proposal = np.arange(number)
        self._failures = np.zeros(number, dtype=np.int64)
        self._given_up = np.zeros(number, dtype=np.int64)
        self.missing: Integers = np.arange(number)

    def attempt(self, copies: int, most: int) -> tuple[Integers, Conditions]:
        """Return places to be tried, ``copies`` times each and ``most`` in all, and conditions."""
        places = np.repeat(self.missing[: max(1, most // copies)], copies)[:most]
        return places, self._proposed.take(self._proposal[places])

    def fill(self, tried: Integers, valid: NDArray[np.bool_]) -> tuple[Integers, Integers]:
        """Take note of an attempt at places (A,), of which some gave a valid crystal, (A,).

        Returns the F places that are filled now, and the first valid attempt at each, (F,).
        """
        # A place may be tried several times at once: its first valid attempt counts.
        good = np.flatnonzero(valid)
        filled, first = np.unique(tried[good], return_index=True)
        np.add.at(self._failures, tried[~valid], 1)
        failed = np.setdiff1d(tried, filled)
        # Those that failed go to the end of the line.
        waiting = self.missing[~np.isin(self.missing, tried)]
        self.missing = np.concatenate([waiting, failed])
        renewed = failed[self._failures[failed] >= KEPT_ATTEMPTS]
        self._given_up[renewed] += 1
        kept_size = self._given_up[renewed] < KEPT_SIZES
        same, other = renewed[kept_size], renewed[~kept_size]
        self._renew(same, counts=self._proposed.counts[self._proposal[same]])
        self._renew(other)
        self._given_up[other] = 0
        return filled, good[first]

    def _renew(self, places: Integers, **sizes: Integers) -> None:
        if len(places):
            had = len(self._proposed)
            fresh = self._propose(len(places), seed=seed_of(self._seed, had), **sizes)
            self._proposed = self._proposed.joined(fresh)
            self._proposal[places] = had + np.arange(len(places))
            self._failures[places] = 0


@single_thread(0)  # Drawing is many small steps: a second thread on a busy machine costs tenfold.
def generate(
    decode: Callable[..., Crystals],
    prior: LatentPrior,
    number: int,
    sampling: Sampling = Sampling(),
    *,
    selection: Selection | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Generated:
    """Generate exactly ``number`` valid crystals by `CrystalModel.decode` or alike.

    Valid: a finite cell of positive volume, no two atoms (images included) closer than 0.5 Angstrom
    or than three quarters of the sum of their covalent radii or of the shortest distance of the
    same two elements in a training crystal, a volume per atom at most a quarter beyond those of
    training crystals, some symmetry (spglib, 0.3 Angstrom) where training crystals come with space
    groups, unless none was drawn or asked for, and what was asked for wherever it can be checked:
    the number of atoms, the composition, and the space group (spglib, 0.1 Angstrom, after symmetry
    missed by less than 0.3 Angstrom was made exact). Sizes, compositions and space groups are drawn
    first and kept while a crystal is tried again, so that what is often rejected is not rarer for
    it; after three unsuccessful attempts others of the same size are drawn, after fifteen another
    size. Where a property is asked for, a ``selection`` chooses compositions by it. Raises
    `DataError` if a condition cannot be met or understood, and `ShortfallError` if the attempts are
    used up and none was found, or not all of ``all_or_nothing``.
    """
    _require_at_least("the number of crystals", number, 1)
    where = parse_where(sampling.where, prior.vocabulary)
    if where.space_group:
        import_extra("spglib")
    precision = precision_of(sampling, NEAR_SYMMETRY if prior.vocabulary.space_groups else 0.0)
    propose = prior.propose
    if selection is not None:
        selection.require_possible(prior, where)
        propose = partial(selection.propose, prior)
    propose = partial(propose, where=where, guidance=sampling.guidance)
    proposals = Proposals(propose, number, sampling.seed)
    allowed = number * sampling.max_attempts + SPARE_ATTEMPTS
    kept: list[Crystals] = []
    places: list[Integers] = []
    rejects: Counter[str] = Counter()
    attempts, began = 0, time.monotonic()
    while len(proposals.missing) and attempts < allowed:
        copies = 1
        if len(proposals.missing) < FEW:
            # Where few are missing, an attempt at one costs as much as several.
            valid_share = (attempts - rejects.total() + 1) / (attempts + 1)
            copies = min(math.ceil(1.0 / valid_share), MOST_COPIES)
        tried, conditions = proposals.attempt(copies, min(AT_ONCE, allowed - attempts))
        drawn = draw(decode, prior, conditions, where, sampling, attempts)
        drawn, reasons = _checked(drawn, prior, where, conditions.space_groups, precision)
        attempts += len(tried)
        rejects.update(reasons[reasons != ""].tolist())
        filled, chosen = proposals.fill(tried, reasons == "")
        kept.append(drawn.take(chosen))
        places.append(filled)
        have = number - len(proposals.missing)
        left = (time.monotonic() - began) / max(have, 1) * (number - have)
        log(
            f"{have}/{number} crystals, {1.0 - rejects.total() / attempts:.0%} of {attempts} "
            f"attempts valid, about {left:.0f} s left"
        )
    shortfall = None
    if len(proposals.missing):
        shortfall = _exhausted(number, have, attempts, rejects, where)
        if sampling.all_or_nothing or not have:
            raise shortfall
    made = Crystals.concatenate(kept).take(np.argsort(np.concatenate(places)))
    width = len(str(number - 1))
    names = np.array([f"generated-{place:0{width}}" for place in range(have)], dtype=np.str_)
    return Generated(replace(made, names=names), attempts, dict(rejects), shortfall)


def precision_of(sampling: Sampling, default: float) -> float:
    """Return the tolerance in Angstrom within which symmetry is made exact.

    Where none is asked for and spglib is missing, that is 0 and a DataWarning says so.
    """
    if sampling.symmetrise is not None or not default:
        return sampling.symmetrise or 0.0
    if find_spec("spglib") is not None:
        return default
    warnings.warn(
        "spglib is not installed: symmetry is neither made exact nor required "
        "(pip install 'variolite[crystals]')",
        DataWarning,
        stacklevel=1,  # once, wherever it is asked from
    )
    return 0.0


def draw(
    decode: Callable[..., Crystals],
    prior: LatentPrior,
    conditions: Conditions,
    where: Where,
    sampling: Sampling,
    *key: int,
) -> Crystals:
    """Draw latents of known conditions and decode them; seed and ``key`` decide the draw."""
    latents = prior.sample(
        conditions,
        where,
        seed=seed_of(sampling.seed, *key),
        temperature=sampling.temperature,
        guidance=sampling.guidance,
        steps=sampling.steps,
    )
    return decode(latents, species=conditions.species)


def _checked(
    crystals: Crystals, prior: LatentPrior, where: Where, groups: Integers, precision: float
) -> tuple[Crystals, NDArray[np.str_]]:
    """Make symmetry exact, and return crystals with the first reason against each, (B,).

    Their space ``groups`` (B,) are those drawn: only group 1 may be without symmetry.
    """
    if not precision:
        return crystals, reject_reasons(crystals, prior, where)
    # Symmetry takes longest: only where nothing speaks against a crystal otherwise.
    reasons = reject_reasons(crystals, prior, replace(where, space_group=0))
    left = np.flatnonzero(reasons == "")
    exact, found = symmetrised(crystals.take(left), precision)
    reasons[left] = reject_reasons(exact, prior, where)
    if prior.vocabulary.space_groups:
        reasons[left[(reasons[left] == "") & (found <= 1) & (groups[left] != 1)]] = "symmetry"
    places = np.arange(len(crystals))
    places[left] = len(crystals) + np.arange(len(left))
    return Crystals.concatenate([crystals, exact]).take(places), reasons


def reject_reasons(
    crystals: Crystals, prior: LatentPrior, where: Where = Where()
) -> NDArray[np.str_]:
    """Return the first reason of `REASONS` against every crystal, empty where valid, (B,).

    The prior knows the volumes and contacts of the training crystals; of the conditions, those
    that can be checked exactly are.
    """
    known = prior.contacts.elements
    sums = COVALENT_RADII[known][:, None] + COVALENT_RADII[known]
    contacts = MinimumDistances(known, np.maximum(prior.contacts.distances, sums))
    reasons = np.full(len(crystals), "", dtype="<U16")

    def strange_volume(some: Crystals) -> NDArray[np.bool_]:
        low, high = prior.volumes
        per_atom = some.volumes / some.counts
        return (per_atom < low / VOLUME_MARGIN) | (per_atom > high * VOLUME_MARGIN)

    def other_group(some: Crystals) -> NDArray[np.bool_]:
        found, _ = space_groups(some, symprec=SYMMETRY_PRECISION)
        return np.asarray(found != where.space_group)

    # What takes longest is left to the last: distances, and symmetry by spglib.
    checks: dict[str, Callable[[Crystals], NDArray[np.bool_]]] = {
        "no_cell": lambda some: ~has_cell(some),
        "composition": lambda some: ~where.has_composition(some),
        "volume_per_atom": strange_volume,
        "too_close": lambda some: ~(shortest_distances(some) >= CUTOFF),
        "contact": lambda some: contacts.closeness(some) < CONTACT_MARGIN,
    }
    if where.space_group:
        checks["space_group"] = other_group
    for code, bad in checks.items():
        left = np.flatnonzero(reasons == "")
        if len(left):
            reasons[left[bad(crystals.take(left))]] = code
    return reasons


def _exhausted(
    number: int, have: int, attempts: int, rejects: Counter[str], where: Where
) -> ShortfallError:
    counted = ", ".join(f"{count} {REASONS[code]}" for code, count in rejects.most_common())
    hints = {
        "space_group": "leave out space_group, or raise --guidance or --tries",
        "composition": "raise --guidance, ask for other atoms or elements, or raise --tries",
    }
    other = "lower --temperature, raise --steps or --tries, or train the model longer"
    asked = f" with {where.text}" if where.text else ""
    return ShortfallError(
        f"only {have} of {number} crystals{asked} were found in {attempts} attempts ({counted})",
        where="generate",
        hint=hints.get(rejects.most_common(1)[0][0], other),
    )
