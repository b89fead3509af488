"""Checking that a model does not depend on how its crystals are described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.descriptions import (
    Transformation,
    change_of_atoms,
    change_of_sets,
    move_by_whole_cells,
    other_cell,
    permutation,
    reflection,
    rotation,
    shape_change,
    shift_of_origin,
)
from variolite.crystals.latents import Latents
from variolite.crystals.model.batch import lattices_of
from variolite.errors import DataError
from variolite.text_table import text_table

Floats = NDArray[np.float64]
Encode = Callable[[Crystals], Latents | ArrayLike]
Reconstruct = Callable[[Crystals], Crystals]

TOLERANCE = 1e-4
"""Of latents, in their own units and in standard deviations."""

SHAPE_TOLERANCE = 1e-3
"""Of reconstructions, in Angstrom."""

MOVED = 0.1
"""Standard deviations beyond which the latents of a crystal count as others."""

TRANSFORMATIONS: Mapping[str, tuple[Callable[[Crystals, int], Transformation], str]] = {
    "rotation": (rotation, "atoms"),
    "reflection": (reflection, "atoms"),
    "whole cells": (move_by_whole_cells, "atoms"),
    "origin": (shift_of_origin, "set"),
    "order of atoms": (permutation, "set"),
    "cell": (other_cell, "set"),
}
"""What is tried, and whether atoms are compared one by one or as the set of a crystal."""

STRAIN = 0.003
"""Largest relative change of a length."""

NOISE = 0.01
"""Standard deviation of displacements in Angstrom, along each axis."""


@dataclass(frozen=True)
class Change:
    """How much one change of description changed what a model gives.

    Attributes
    ----------
    name
        Of the transformation.
    compared
        ``atoms`` one by one, ``set`` of the atoms of a crystal, or ``shape``.
    median, high, largest
        Over crystals, of the largest change within each; ``high`` is the 95th percentile.
    deviations
        The largest in standard deviations of the latents; None for shapes.
    moved
        Fraction of crystals whose latents change by more than a tenth of a standard
        deviation; None for shapes.
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
        """Sum up the largest change of every crystal, shape (B,); NaN counts as infinite."""
        known = np.where(np.isnan(changes), np.inf, changes) if len(changes) else np.zeros(1)
        median, high = np.quantile(known, [0.5, 0.95], method="higher")
        figures = (float(median), float(high), float(known.max()))
        if spread is None:
            return cls(name, compared, *figures)
        # Latents that are all alike have no spread: any change of them is infinite.
        scaled = np.divide(known, spread, out=np.full_like(known, np.inf), where=spread > 0.0)
        scaled[known == 0.0] = 0.0
        return cls(name, compared, *figures, float(scaled.max()), float((scaled > MOVED).mean()))


@dataclass(frozen=True)
class CellCheck:
    """Whether whatever a lattice head may give is a cell.

    Number of random outputs; cells with a number that is not finite; finite ones of no or
    negative volume; smallest volume in cubic Angstrom per atom.
    """

    number: int
    not_finite: int
    not_positive: int
    smallest_volume: float

    @property
    def passed(self) -> bool:
        """Whether all were cells."""
        return self.not_finite == 0 and self.not_positive == 0


@dataclass(frozen=True)
class InvarianceReport:
    """Changes of latents and reconstructions under changes that should not matter.

    Attributes
    ----------
    crystals, atoms
        Numbers of those that were encoded.
    spread
        Standard deviation of the latents over all atoms (root mean square over the
        dimensions): what ``deviations`` are measured in.
    latents
        One for every transformation, and for encoding alone instead of with others.
    shapes
        The same for reconstructions; empty where none were asked for.
    residuals
        Changes of latents under strain and noise. The crystal is another one then: these
        are informative, and nothing passes or fails by them.
    mutated
        Whether a function changed the arrays it was given.
    """

    crystals: int
    atoms: int
    spread: float
    latents: tuple[Change, ...]
    shapes: tuple[Change, ...]
    residuals: tuple[Change, ...]
    mutated: bool

    @property
    def worst(self) -> Change:
        """The change of latents that is the largest in standard deviations."""
        return max(self.latents, key=lambda change: change.deviations or 0.0)

    def failures(
        self, tolerance: float = TOLERANCE, shape_tolerance: float = SHAPE_TOLERANCE
    ) -> tuple[Change, ...]:
        """Return the changes that are larger than they may be.

        Parameters
        ----------
        tolerance
            Largest change of a latent, both in its own units and in standard deviations:
            latents that are tiny, or huge, make it no easier.
        shape_tolerance
            Largest change of a reconstruction in Angstrom. It is wider because a decoder
            may turn a small change of a latent into a larger one of a place.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain numbers and text."""
        return asdict(self)

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
                lines += [
                    title,
                    text_table(_HEADS, map(_cells, changes), right=_HEADS[2:], indent=2),
                ]
        if self.mutated:
            lines.append("the arrays that were given were CHANGED")
        return "\n".join(lines)


_HEADS = ("change", "compared", "median", "95 %", "largest", "in sd", "moved")


def _cells(change: Change) -> list[str]:
    numbers = (change.median, change.high, change.largest, change.deviations)
    written = ["" if number is None else f"{number:.1e}" for number in numbers]
    moved = "" if change.moved is None else f"{change.moved:.1%}"
    return [change.name, change.compared, *written, moved]


def check_invariance(
    encode: Encode,
    crystals: Crystals,
    *,
    reconstruct: Reconstruct | None = None,
    seed: int = 0,
    alone: int = 64,
) -> InvarianceReport:
    """Describe crystals in other ways and see whether a model gives the same.

    Latents are compared atom by atom where a crystal is turned, reflected or moved by whole
    cells. Where origin, order or cell change they are compared as sets: atoms that a
    symmetry of the crystal exchanges may exchange their latents. Reconstructions are
    compared by what does not depend on their setting, see
    `variolite.crystals.descriptions.shape_change`.

    A model that tells mirror images apart fails at "reflection" alone.

    Parameters
    ----------
    encode
        Returns one row for every atom, (N, L), in the order of the atoms; or `Latents`.
    crystals
        At least one, of elements that the model knows.
    reconstruct
        Returns crystals with as many atoms, in the same order of crystals.
    seed
        Of all that is drawn.
    alone
        Crystals that are encoded once more, each by itself; at most all.

    Returns
    -------
    InvarianceReport
        Nothing is raised where a model fails.

    Raises
    ------
    DataError
        If there is no crystal, or a function does not return what it should.

    Examples
    --------
    >>> import numpy as np
    >>> from variolite.crystals import textbook_crystals
    >>> rows_of_cells = lambda c: c.lattices.reshape(-1, 9)[c.owner]
    >>> report = check_invariance(rows_of_cells, textbook_crystals())
    >>> [change.name for change in report.failures()]
    ['rotation', 'reflection', 'cell']
    """
    if not len(crystals):
        raise DataError("there is no crystal to check with", where="check_invariance")
    kept = [getattr(crystals, name).copy() for name in _ARRAYS]
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
    single = np.concatenate(
        [_rows(encode, crystals.take(chosen[i : i + 1])) for i in range(len(chosen))]
    )
    together = before[crystals.atoms_of(chosen)]
    changes = change_of_atoms(together, single, crystals.take(chosen))
    latents.append(Change.of("alone or with others", "atoms", changes, spread))
    residuals = [
        Change.of(name, "set", change_of_sets(before, _rows(encode, other), crystals), spread)
        for name, other in _others(crystals, seed).items()
    ]
    return InvarianceReport(
        crystals=len(crystals),
        atoms=len(crystals.species),
        spread=spread,
        latents=tuple(latents),
        shapes=tuple(shapes),
        residuals=tuple(residuals),
        mutated=any(
            not np.array_equal(array, getattr(crystals, name))
            for name, array in zip(_ARRAYS, kept, strict=True)
        ),
    )


_ARRAYS = ("species", "coordinates", "lattices", "offsets")


def check_cells(
    cells: Callable[[Floats, NDArray[np.int64]], Floats] = lattices_of,
    *,
    number: int = 10_000,
    scale: float = 3.0,
    seed: int = 0,
) -> CellCheck:
    """Give a lattice head random numbers and see whether all it makes of them are cells.

    Parameters
    ----------
    cells
        From outputs (B, 6) and numbers of atoms (B,) to lattice vectors as rows (B, 3, 3).
    number
        Of outputs.
    scale
        Standard deviation of the outputs, which are normal around 0.
    seed
        Of what is drawn.
    """
    random = np.random.default_rng(seed)
    counts = random.integers(1, 53, size=number)
    lattices = cells(scale * random.normal(size=(number, 6)), counts)
    finite = np.isfinite(lattices).all(axis=(1, 2))
    volumes = np.linalg.det(lattices[finite])
    return CellCheck(
        number=number,
        not_finite=int((~finite).sum()),
        not_positive=int((volumes <= 0.0).sum()),
        smallest_volume=float((volumes / counts[finite]).min(initial=np.inf)),
    )


def _others(crystals: Crystals, seed: int) -> dict[str, Crystals]:
    """Crystals that are a little different: strained, and with displaced atoms."""
    random = np.random.default_rng([seed, 8])
    strain = random.normal(size=(len(crystals), 3, 3))
    strain += strain.transpose(0, 2, 1)
    # The largest eigenvalue is the largest relative change of a length in any direction.
    strain *= STRAIN / np.abs(np.linalg.eigvalsh(strain)).max(axis=1)[:, None, None]
    moved = NOISE * random.normal(size=(len(crystals.species), 1, 3))
    moved = moved @ np.linalg.inv(crystals.lattices)[crystals.owner]
    return {
        f"strain of {STRAIN:.1%}": replace(
            crystals, lattices=crystals.lattices @ (np.eye(3) + strain)
        ),
        f"noise of {NOISE} Angstrom": replace(
            crystals, coordinates=crystals.coordinates + moved[:, 0]
        ),
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
