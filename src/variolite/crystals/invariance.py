"""Checking that a model does not depend on how its crystals are described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.geometry.periodic import ReducedLattices, periodic_distances
from variolite.errors import DataError
from variolite.text_table import text_table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Each function draws one transformation for every crystal of a set, from a seed. None changes
# what the crystal is, except `reflection`, which gives its mirror image.

SHEARS = 3  # Times that one vector of a cell is added to, or taken from, another in `other_cell`.


@dataclass(frozen=True)
class Transformation:
    """One change of description for each of B crystals with N atoms in all.

    With the rows of L as lattice vectors, a crystal (L, x) becomes (U L R, (x + t) U^-1 + k):
    an orthogonal ``rotation`` R, (B, 3, 3), a fractional ``shift`` t of the origin, (B, 3), a
    unimodular ``change`` U of the basis, (B, 3, 3), and ``whole`` cells k, (N, 3). Then the atoms
    come in another order: ``order``, (N,), are their places in the set as given.
    """

    rotation: Floats
    shift: Floats
    change: Integers
    whole: Integers
    order: Integers

    @classmethod
    def of(cls, crystals: Crystals, **changed: NDArray[Any]) -> Transformation:
        """Change what is given and leave the rest unchanged."""
        count, atoms = len(crystals), len(crystals.species)
        same: dict[str, NDArray[Any]] = {
            "rotation": np.tile(np.eye(3), (count, 1, 1)),
            "shift": np.zeros((count, 3)),
            "change": np.tile(np.eye(3, dtype=np.int64), (count, 1, 1)),
            "whole": np.zeros((atoms, 3), dtype=np.int64),
            "order": np.arange(atoms),
        }
        return cls(**{**same, **changed})

    def apply(self, crystals: Crystals) -> Crystals:
        """The new crystals; their coordinates are not wrapped into the cell."""
        owner = crystals.owner
        back = np.rint(np.linalg.inv(self.change))
        moved = crystals.coordinates + self.shift[owner]
        coordinates = np.einsum("ni,nij->nj", moved, back[owner]) + self.whole
        return replace(
            crystals,
            species=crystals.species[self.order],
            coordinates=coordinates[self.order],
            lattices=self.change @ crystals.lattices @ self.rotation,
        )

    def undo(self, values: Floats) -> Floats:
        """Bring one row for each new atom back to the order of the old atoms, (N, ...)."""
        back = np.empty_like(values)
        back[self.order] = values
        return back


def random_rotations(number: int, random: np.random.Generator) -> Floats:
    """Draw rotations uniformly, (number, 3, 3): normal quaternions (Shoemake 1992)."""
    return np.asarray(Rotation.from_quat(random.normal(size=(number, 4))).as_matrix())


def rotation(crystals: Crystals, seed: int = 0) -> Transformation:
    """Turn every crystal at random, uniformly."""
    turned = random_rotations(len(crystals), np.random.default_rng([seed, 1]))
    return Transformation.of(crystals, rotation=turned)


def reflection(crystals: Crystals, seed: int = 0) -> Transformation:
    """Reflect every crystal in a plane through the origin that is turned at random."""
    turned = random_rotations(len(crystals), np.random.default_rng([seed, 2]))
    mirror = turned @ np.diag([1.0, 1.0, -1.0]) @ turned.transpose(0, 2, 1)
    return Transformation.of(crystals, rotation=mirror)


def shift_of_origin(crystals: Crystals, seed: int = 0) -> Transformation:
    """Move all atoms of every crystal by one fractional vector, uniform in the cell."""
    shift = np.random.default_rng([seed, 3]).uniform(size=(len(crystals), 3))
    return Transformation.of(crystals, shift=shift)


def move_by_whole_cells(crystals: Crystals, seed: int = 0) -> Transformation:
    """Move every atom on its own by -2 to 2 whole cells along each axis."""
    whole = np.random.default_rng([seed, 4]).integers(-2, 3, size=(len(crystals.species), 3))
    return Transformation.of(crystals, whole=whole)


def permutation(crystals: Crystals, seed: int = 0) -> Transformation:
    """Put the atoms of every crystal in a random order."""
    draws = np.random.default_rng([seed, 5]).random(len(crystals.species))
    return Transformation.of(crystals, order=np.lexsort((draws, crystals.owner)))


def other_cell(crystals: Crystals, seed: int = 0) -> Transformation:
    """Choose another primitive basis of the same lattice for every crystal.

    Its vectors in a random order with random signs, and three times one of them is added to
    another or taken from it.
    """
    random = np.random.default_rng([seed, 6])
    count = len(crystals)
    eye = np.eye(3, dtype=np.int64)
    change = eye[random.random((count, 3)).argsort(axis=1)]
    change = change * random.choice([-1, 1], size=(count, 3, 1))
    for _ in range(SHEARS):
        to = random.integers(3, size=count)
        other = (to + random.integers(1, 3, size=count)) % 3
        shear = np.tile(eye, (count, 1, 1))
        shear[np.arange(count), to, other] = random.choice([-1, 1], size=count)
        change = shear @ change
    return Transformation.of(crystals, change=change)


# How far two sets of atoms are from each other, whatever their order or setting.

EXACT = 1e-7  # Change below which no better pairing of atoms is looked for.
FAR = 1e12  # Added where two atoms are of different elements, so that they are never paired.
FLAT = 1e-6  # Volume of a cell over the product of its lengths up to which it counts as none.


def change_of_atoms(before: Floats, after: Floats, crystals: Crystals) -> Floats:
    """Largest absolute difference over the atoms and columns of every crystal, (B,).

    ``before`` and ``after`` have a row for every atom, in the same order, (N, L); NaN where a
    value is not a number.
    """
    of_atoms = np.abs(after - before).max(axis=1, initial=0.0)
    return np.asarray(np.maximum.reduceat(of_atoms, crystals.offsets[:-1]))


def change_of_sets(before: Floats, after: Floats, crystals: Crystals) -> Floats:
    """As `change_of_atoms`, in the pairing of atoms with the least sum of squares.

    Atoms that a symmetry of the crystal exchanges may exchange their rows: the crystal has
    the same set of rows. Atoms of different elements are never paired.
    """
    change = change_of_atoms(before, after, crystals)
    for place in np.flatnonzero(np.isfinite(change) & (change > EXACT)):
        atoms = slice(crystals.offsets[place], crystals.offsets[place + 1])
        differences = after[atoms][None] - before[atoms][:, None]  # (n, n, L)
        species = crystals.species[atoms]
        apart = np.where(species[:, None] == species, 0.0, FAR)
        paired = linear_sum_assignment((differences**2).sum(axis=2) + apart)
        change[place] = min(change[place], np.abs(differences[paired]).max())
    return change


def shape_change(before: Crystals, after: Crystals) -> Floats:
    """Largest difference of shape between crystals in any settings, in Angstrom, (B,).

    Compared are the ascending shortest distances between all pairs of atoms, the lengths of
    the three shortest independent lattice vectors, and the cubic root of the volume. Infinite
    where the numbers of atoms of an element differ, where a cell has no volume, or something is
    no number; the crystals need equal numbers of atoms.
    """
    owner = before.owner
    first, second = (c.species[np.lexsort((c.species, owner))] for c in (before, after))
    other_elements = np.bincount(owner[first != second], minlength=len(before)) > 0
    usable = _has_shape(before) & _has_shape(after) & ~other_elements
    kept = before.take(usable), after.take(usable)
    found = np.abs(_lengths(kept[0]) - _lengths(kept[1])).max(axis=1, initial=0.0)
    # Crystals of equal sizes come in equal blocks: (M,) crystals with (M, P) distances.
    for one, other in zip(*(periodic_distances(part)[1] for part in kept), strict=True):
        apart = np.abs(np.sort(one.distances, axis=1) - np.sort(other.distances, axis=1))
        found[one.crystals] = np.maximum(found[one.crystals], apart.max(axis=1))
    change = np.full(len(before), np.inf)
    change[usable] = found
    return change


def _has_shape(crystals: Crystals) -> NDArray[np.bool_]:
    """Whether cells enclose a volume, however small, and all numbers are finite, (B,)."""
    usable = crystals.finite
    lattices = np.where(usable[:, None, None], crystals.lattices, 0.0)
    boxes = np.linalg.norm(lattices, axis=2).prod(axis=1)
    return np.asarray(usable & (np.abs(np.linalg.det(lattices)) > FLAT * boxes))


def _lengths(crystals: Crystals) -> Floats:
    """Lengths of the three shortest lattice vectors and cubic root of the volume, (B, 4)."""
    lengths = np.linalg.norm(ReducedLattices(crystals.lattices).lattices, axis=2)
    return np.column_stack([np.sort(lengths, axis=1), np.cbrt(crystals.volumes)])


# The check: latents and reconstructions of the same crystals under every transformation.

Encode = Callable[[Crystals], Latents | ArrayLike]
Reconstruct = Callable[[Crystals], Crystals]

TOLERANCE = 1e-4  # Of latents, in their own units and in standard deviations.
SHAPE_TOLERANCE = 1e-3  # Of reconstructions, in Angstrom.
MOVED = 0.1  # Standard deviations beyond which the latents of a crystal count as others.

TRANSFORMATIONS: Mapping[str, tuple[Callable[[Crystals, int], Transformation], str]] = {
    "rotation": (rotation, "atoms"),
    "reflection": (reflection, "atoms"),
    "whole cells": (move_by_whole_cells, "atoms"),
    "origin": (shift_of_origin, "set"),
    "order of atoms": (permutation, "set"),
    "cell": (other_cell, "set"),
}
"""What is tried, and whether atoms are compared one by one or as the set of a crystal."""

STRAIN = 0.003  # Largest relative change of a length.
NOISE = 0.01  # Standard deviation of displacements in Angstrom, along each axis.

_ARRAYS = ("species", "coordinates", "lattices", "offsets")
_HEADS = ("change", "compared", "median", "95 %", "largest", "in sd", "moved")


@dataclass(frozen=True)
class Change:
    """How much one change of description changed what a model gives.

    ``compared`` are ``atoms`` one by one, the ``set`` of the atoms of a crystal, or ``shape``;
    ``median``, ``high`` (95th percentile) and ``largest`` are over crystals, of the largest
    change within each. For latents ``deviations`` is the largest in standard deviations, and
    ``moved`` the fraction of crystals whose latents change by more than a tenth of one.
    """

    name: str
    compared: str
    median: float
    high: float
    largest: float
    deviations: float | None = None
    moved: float | None = None

    @classmethod
    def of(cls, name: str, compared: str, changes: Floats, spread: float | None = None) -> Change:
        """Sum up the largest change of every crystal, (B,); NaN counts as infinite."""
        known = np.where(np.isnan(changes), np.inf, changes) if len(changes) else np.zeros(1)
        median, high = np.quantile(known, [0.5, 0.95], method="higher")
        figures = (float(median), float(high), float(known.max()))
        if spread is None:
            return cls(name, compared, *figures)
        # Latents that are all alike have no spread: any change of them is infinite.
        scaled = np.divide(known, spread, out=np.full_like(known, np.inf), where=spread > 0.0)
        scaled[known == 0.0] = 0.0
        return cls(name, compared, *figures, float(scaled.max()), float((scaled > MOVED).mean()))

    def cells(self) -> list[str]:
        numbers = (self.median, self.high, self.largest, self.deviations)
        written = ["" if number is None else f"{number:.1e}" for number in numbers]
        moved = "" if self.moved is None else f"{self.moved:.1%}"
        return [self.name, self.compared, *written, moved]


@dataclass(frozen=True)
class InvarianceReport:
    """Changes of latents and reconstructions under changes that should not matter.

    ``spread`` is the standard deviation of the latents over all atoms (root mean square over the
    dimensions). ``latents`` has a change for every transformation, and for encoding alone instead
    of with others; ``shapes`` the same for reconstructions, if any. Nothing passes or fails by
    ``residuals``, changes under strain and noise: the crystal is another one then. ``mutated``
    says whether a function changed the arrays it was given.
    """

    crystals: int
    atoms: int
    spread: float
    latents: tuple[Change, ...]
    shapes: tuple[Change, ...]
    residuals: tuple[Change, ...]
    mutated: bool

    def failures(
        self, tolerance: float = TOLERANCE, shape_tolerance: float = SHAPE_TOLERANCE
    ) -> tuple[Change, ...]:
        """Changes that are larger than they may be.

        ``tolerance`` bounds a latent in its own units and in standard deviations, so that its
        scale makes nothing easier. ``shape_tolerance``, in Angstrom, is wider, as a decoder may
        turn a small change of a latent into a larger one of a place.
        """
        limits = [(change, tolerance) for change in self.latents]
        limits += [(change, shape_tolerance) for change in self.shapes]
        # Negated, so that a number that is not finite fails too.
        return tuple(c for c, most in limits if not max(c.largest, c.deviations or 0.0) <= most)

    def passes(
        self, tolerance: float = TOLERANCE, shape_tolerance: float = SHAPE_TOLERANCE
    ) -> bool:
        """Whether nothing changed by more than `failures` allows, and no input was changed."""
        return not self.mutated and not self.failures(tolerance, shape_tolerance)

    def __str__(self) -> str:
        lines = [
            f"{self.crystals} crystals, {self.atoms} atoms, latents of spread {self.spread:.3g}"
        ]
        for title, changes in (
            ("latents, in their own units", self.latents),
            ("reconstructions, in Angstrom", self.shapes),
            ("latents of other crystals, for information", self.residuals),
        ):
            if changes:
                rows = (change.cells() for change in changes)
                lines += [title, text_table(_HEADS, rows, right=_HEADS[2:], indent=2)]
        if self.mutated:
            lines.append("the arrays that were given were CHANGED")
        return "\n".join(lines)


def check_invariance(
    encode: Encode,
    crystals: Crystals,
    *,
    reconstruct: Reconstruct | None = None,
    seed: int = 0,
    alone: int = 64,
) -> InvarianceReport:
    """Describe crystals in other ways and see whether a model gives the same.

    ``encode`` returns one row for every atom, (N, L), in the order of the atoms, or `Latents`;
    ``reconstruct`` crystals with as many atoms, in the same order. Latents are compared atom by
    atom where a crystal is turned, reflected or moved by whole cells, and as sets where origin,
    order or cell change: atoms that a symmetry of the crystal exchanges may exchange their
    latents. Reconstructions are compared by `shape_change`. ``alone`` crystals are encoded once
    more, each by itself. A model that distinguishes mirror images fails at "reflection" alone.

    Nothing is raised where a model fails; DataError if there is no crystal, or a function does
    not return what it should.

    >>> import numpy as np
    >>> from variolite.crystals import textbook_crystals
    >>> rows_of_cells = lambda c: c.lattices.reshape(-1, 9)[c.owner]
    >>> report = check_invariance(rows_of_cells, textbook_crystals())
    >>> [change.name for change in report.failures()]
    ['rotation', 'reflection', 'cell']
    """
    if not len(crystals):
        raise DataError("there is no crystal to check with", where="check_invariance")
    kept = {name: getattr(crystals, name).copy() for name in _ARRAYS}
    before = _rows(encode, crystals)
    spread = float(np.sqrt(before.var(axis=0).mean()))
    built = None if reconstruct is None else _rebuilt(reconstruct, crystals)
    latents, shapes = [], []
    for name, (draw, compared) in TRANSFORMATIONS.items():
        change = draw(crystals, seed)
        other = change.apply(crystals)
        after = change.undo(_rows(encode, other))
        compare = change_of_atoms if compared == "atoms" else change_of_sets
        latents.append(Change.of(name, compared, compare(before, after, crystals), spread))
        if reconstruct is not None and built is not None:
            found = shape_change(built, _rebuilt(reconstruct, other))
            shapes.append(Change.of(name, "shape", found))
    # Some crystals each by itself, against all at once.
    chosen = np.random.default_rng([seed, 7]).permutation(len(crystals))[:alone]
    single = np.concatenate([_rows(encode, crystals.take(np.array([place]))) for place in chosen])
    together = before[crystals.atoms_of(chosen)]
    changes = change_of_atoms(together, single, crystals.take(chosen))
    latents.append(Change.of("alone or with others", "atoms", changes, spread))
    residuals = [
        Change.of(name, "set", change_of_sets(before, _rows(encode, other), crystals), spread)
        for name, other in _others(crystals, seed).items()
    ]
    mutated = any(not np.array_equal(array, getattr(crystals, n)) for n, array in kept.items())
    changes_of = tuple(latents), tuple(shapes), tuple(residuals)
    return InvarianceReport(len(crystals), len(crystals.species), spread, *changes_of, mutated)


def _others(crystals: Crystals, seed: int) -> dict[str, Crystals]:
    """Crystals that are a little different: strained, and with displaced atoms."""
    random = np.random.default_rng([seed, 8])
    strain = random.normal(size=(len(crystals), 3, 3))
    strain += strain.transpose(0, 2, 1)
    # The largest eigenvalue is the largest relative change of a length in any direction.
    strain *= STRAIN / np.abs(np.linalg.eigvalsh(strain)).max(axis=1)[:, None, None]
    strained = crystals.lattices @ (np.eye(3) + strain)
    # Cartesian displacements (N, 1, 3) times the inverse cell are fractional ones.
    moved = NOISE * random.normal(size=(len(crystals.species), 1, 3))
    moved = moved @ np.linalg.inv(crystals.lattices)[crystals.owner]
    noisy = crystals.coordinates + moved[:, 0]
    return {
        f"strain of {STRAIN:.1%}": replace(crystals, lattices=strained),
        f"noise of {NOISE} Angstrom": replace(crystals, coordinates=noisy),
    }


def _rows(encode: Encode, crystals: Crystals) -> Floats:
    found = encode(crystals)
    rows = np.asarray(found.mean if isinstance(found, Latents) else found, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(crystals.species):
        raise DataError(
            f"encode returned an array of shape {rows.shape} for {len(crystals.species)} atoms",
            where="check_invariance",
            hint="return one row for every atom, in the order of the atoms",
        )
    return rows


def _rebuilt(reconstruct: Reconstruct, crystals: Crystals) -> Crystals:
    found = reconstruct(crystals)
    if not np.array_equal(found.counts, crystals.counts):
        raise DataError(
            "reconstruct returned crystals of other sizes",
            where="check_invariance",
            hint="return as many crystals with as many atoms, in the order given",
        )
    return found
