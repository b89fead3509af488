"""Exactly as many valid crystals as were asked for, by rejection sampling, or an error."""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import COVALENT_RADII
from variolite.crystals.evaluation.validity import CUTOFF, MinimumDistances
from variolite.crystals.files.formats import import_extra
from variolite.crystals.files.groups import space_groups, symmetry_datasets
from variolite.crystals.generation.conditions import Conditions, Floats, Integers
from variolite.crystals.generation.prior import LatentPrior
from variolite.crystals.generation.selection import Selecting, Selection
from variolite.crystals.generation.where import Where, parse_where
from variolite.crystals.periodic import has_cell, shortest_distances
from variolite.errors import DataError, ShortfallError

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
    every crystal wanted there are ``max_attempts``, and 1,000 more. ``symmetrise`` makes symmetry
    exact that is missed by less than so many Angstrom, see `symmetrised`, 0 none; by default
    NEAR_SYMMETRY where the space groups of the training crystals are known. Where fewer are found
    than asked for, those are returned unless ``all_or_nothing``.
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

    A crystal keeps its composition while its latents are drawn again, and its size much longer. If
    every attempt took new ones, large cells, of which more are rejected, would be too few among
    the crystals that are left.
    """

    def __init__(
        self,
        prior: LatentPrior | Selecting,
        number: int,
        where: Where,
        seed: int,
        guidance: float = 1.0,
    ) -> None:
        self._prior, self._where, self._seed, self._guidance = prior, where, seed, guidance
        self._proposed = prior.propose(number, where, guidance=guidance, seed=seed)
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
        tired = failed[self._failures[failed] >= KEPT_ATTEMPTS]
        self._given_up[tired] += 1
        hopeless = self._given_up[tired] >= KEPT_SIZES
        self._renew(
            tired[~hopeless], counts=self._proposed.counts[self._proposal[tired[~hopeless]]]
        )
        self._renew(tired[hopeless])
        self._given_up[tired[hopeless]] = 0
        return filled, good[first]

    def _renew(self, places: Integers, **sizes: Integers) -> None:
        if len(places):
            had = len(self._proposed)
            seed = int(np.random.SeedSequence((self._seed, had)).generate_state(1)[0])
            fresh = self._prior.propose(
                len(places), self._where, guidance=self._guidance, seed=seed, **sizes
            )
            self._proposed = self._proposed.joined(fresh)
            self._proposal[places] = had + np.arange(len(places))
            self._failures[places] = 0


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
    symmetrise = sampling.symmetrise
    if symmetrise is None:
        symmetrise = NEAR_SYMMETRY if prior.vocabulary.space_groups else 0.0
    allowed = number * sampling.max_attempts + SPARE_ATTEMPTS
    proposer: LatentPrior | Selecting = prior
    if selection is not None:
        selection.require_possible(prior, where)
        proposer = Selecting(prior, selection)
    proposals = Proposals(proposer, number, where, sampling.seed, sampling.guidance)
    kept: list[Crystals] = []
    places: list[Integers] = []
    have = attempts = accepted = 0
    rejects: Counter[str] = Counter()
    shortfall = None
    began = time.monotonic()
    while have < number:
        if attempts >= allowed:
            shortfall = _exhausted(number, have, attempts, rejects, where)
            if sampling.all_or_nothing or not have:
                raise shortfall
            break
        copies = 1
        if len(proposals.missing) < FEW:
            # Where few are missing, an attempt at one costs as much as several.
            acceptance = max((accepted + 1) / (attempts + 1), 0.02)
            copies = min(math.ceil(1.0 / acceptance), MOST_COPIES)
        tried, conditions = proposals.attempt(copies, min(AT_ONCE, allowed - attempts))
        latents = prior.sample(
            conditions,
            where,
            seed=int(np.random.SeedSequence((sampling.seed, attempts)).generate_state(1)[0]),
            temperature=sampling.temperature,
            guidance=sampling.guidance,
            steps=sampling.steps,
        )
        decoded = decode(latents, species=conditions.species)
        decoded, reasons = _checked(decoded, prior, where, conditions.space_groups, symmetrise)
        valid = reasons == ""
        attempts += len(tried)
        accepted += int(valid.sum())
        rejects.update(reasons[~valid].tolist())
        filled, chosen = proposals.fill(tried, valid)
        kept.append(decoded.take(chosen))
        places.append(filled)
        have += len(filled)
        left = (time.monotonic() - began) / max(have, 1) * (number - have)
        log(
            f"{have}/{number} crystals, {accepted / attempts:.0%} of {attempts} attempts valid, "
            f"about {left:.0f} s left"
        )
    joined = Crystals.concatenate(kept).take(np.argsort(np.concatenate(places)))
    width = len(str(number - 1))
    names = np.array([f"generated-{place:0{width}}" for place in range(have)], dtype=np.str_)
    return Generated(replace(joined, names=names), attempts, dict(rejects), shortfall)


def _checked(
    crystals: Crystals, prior: LatentPrior, where: Where, groups: Integers, symmetrise: float
) -> tuple[Crystals, NDArray[np.str_]]:
    """Make symmetry exact, and return crystals with the first reason against each, (B,).

    Their space ``groups`` (B,) are those drawn: only group 1 may be without symmetry.
    """
    if not symmetrise:
        return crystals, reject_reasons(crystals, prior, where)
    # Symmetry takes longest: only where nothing speaks against a crystal otherwise.
    reasons = reject_reasons(crystals, prior, replace(where, space_group=0))
    left = np.flatnonzero(reasons == "")
    exact, found = _on_symmetry(crystals.take(left), symmetrise)
    reasons[left] = reject_reasons(exact, prior, where)
    if prior.vocabulary.space_groups:
        reasons[left[(reasons[left] == "") & (found <= 1) & (groups[left] != 1)]] = "symmetry"
    made = list(crystals)
    for place, crystal in zip(left.tolist(), exact, strict=True):
        made[place] = crystal
    return replace(Crystals.of(made), properties=crystals.properties), reasons


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


# Crystals moved onto the symmetry that they nearly have: decoded atoms are a little out of place,
# so that a crystal which is plainly cubic has no symmetry by the letter. The operations come from
# the tables of the space group that spglib finds, carried over to the given cell, and not from the
# atoms: they form a group exactly, and the mean over a group is invariant under it. (The positions
# that spglib itself idealises are not always: disturbed by 0.01 Angstrom, nickeline stays in
# group 12.)

_STEPS = np.array(list(product(range(-3, 4), repeat=3)), dtype=np.float64)


def symmetrised(crystals: Crystals, precision: float) -> Crystals:
    """Return crystals with exact symmetry, wherever spglib finds any within Angstrom.

    Numbers and order of atoms stay, and crystals without a cell; a changed cell comes in
    standard orientation. Raises `DataError` if spglib is missing, or the precision not positive.
    """
    if not precision > 0.0:
        raise DataError(
            f"a precision of {precision} Angstrom is not positive",
            where="symmetry",
            hint="give 0.1 or 0.3, for instance",
        )
    return _on_symmetry(crystals, precision)[0]


def _on_symmetry(crystals: Crystals, precision: float) -> tuple[Crystals, Integers]:
    """Crystals as in `symmetrised`, and the space groups found, 0 where there is none, (B,)."""
    sound = np.flatnonzero(has_cell(crystals))
    made, groups = list(crystals), np.zeros(len(crystals), dtype=np.int64)
    found = symmetry_datasets(crystals.take(sound), precision)
    for place, dataset in zip(sound.tolist(), found, strict=True):
        if dataset is not None:
            groups[place] = dataset.number
            if dataset.number > 1:
                made[place] = _symmetrised(made[place], *_operations(dataset))
    exact = replace(Crystals.of(made), properties=crystals.properties) if made else crystals
    return exact, groups


def _operations(dataset: Any) -> tuple[Floats, Floats]:
    """Rotations (O, 3, 3) and translations (O, 3) of column vectors in the given cell.

    With x' = P x + p in the standard cell and x' -> R x' + t there, the given cell has
    x -> (P^-1 R P) x + P^-1 (R p + t - p), and the translations of the standard lattice.
    There are none where the given cell is not invariant under the rotations.
    """
    with warnings.catch_warnings():
        # spglib announces that failures will become exceptions; a group it found has a table.
        warnings.simplefilter("ignore", DeprecationWarning)
        table = import_extra("spglib").get_symmetry_from_database(dataset.hall_number)
    change, shift = np.asarray(dataset.transformation_matrix), np.asarray(dataset.origin_shift)
    back = np.linalg.inv(change)
    rotations = back @ table["rotations"] @ change
    # In any cell of the crystal a rotation is a matrix of whole numbers.
    whole = np.rint(rotations)
    if np.abs(rotations - whole).max() > 1e-4:
        return np.empty((0, 3, 3)), np.empty((0, 3))
    translations = (table["rotations"] @ shift + table["translations"] - shift) @ back.T
    # Where the given cell is larger than the standard one, the steps between its copies count
    # too; those that differ by rounding are one, and those near 1 count as 0.
    steps = (_STEPS @ back.T) % 1.0
    _, first = np.unique(np.round(steps, 4) % 1.0, axis=0, return_index=True)
    lattice = steps[np.sort(first)]
    both = (translations[:, None] + lattice) % 1.0
    return np.repeat(whole, len(lattice), axis=0), both.reshape(-1, 3)


def _symmetrised(crystal: Crystal, rotations: Floats, translations: Floats) -> Crystal:
    """Average atoms and metric over all images; a crystal with an impossible image stays."""
    x, metric = crystal.coordinates, crystal.lattice @ crystal.lattice.T
    other = crystal.species[:, None] != crystal.species
    sums = np.zeros_like(x)
    for rotation, translation in zip(rotations, translations, strict=True):
        # Each image belongs to the nearest atom of its element, along the shorter way round.
        image = x @ rotation.T + translation
        apart = image[:, None] - x
        apart -= np.rint(apart)
        distance = np.einsum("ijk,kl,ijl->ij", apart, metric, apart)
        distance[other] = np.inf
        partner = distance.argmin(axis=1)
        if len(np.unique(partner)) < len(partner):
            return crystal
        sums[partner] += x[partner] + apart[np.arange(len(x)), partner]
    if not len(rotations):
        return crystal
    # The metric G of the mean cell is invariant, R^T G R = G; its Cholesky factor is a cell of it.
    mean = np.einsum("oji,jk,okl->il", rotations, metric, rotations) / len(rotations)
    positions = sums / len(rotations) % 1.0
    return Crystal(crystal.species, positions, np.linalg.cholesky(mean), crystal.name)
