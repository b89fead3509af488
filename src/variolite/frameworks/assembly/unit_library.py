"""Building units: nodes and linkers with open ends, read backwards from structures or shipped.

An open end, an arm, is where a bond was cut: from an atom of the unit, its anchor, half way to the
atom that it was bonded to. A library holds each kind of unit once, with the structures in which it
was found, and is written as XYZ with one unit after another, in which X marks the ends of arms.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.elements import METALLIC, atomic_numbers, parse_formula
from variolite.errors import DataError, nearest
from variolite.frameworks.assembly.nets import autografs_data
from variolite.records.files.writing import write_text_atomic

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SAME = 0.3  # Angstrom: root mean square by which anchors and arms of one kind of unit may differ
_FIELD = re.compile(r'(\w+)=("[^"]*"|\S+)')


@dataclass(frozen=True, eq=False)
class Unit:
    """A building unit of n atoms and k arms; positions are in Angstrom.

    ``ends``, (k, 3), are the free ends of its arms, half a bond away from the anchors.
    """

    name: str
    kind: str
    symbols: tuple[str, ...]
    positions: Floats
    ends: Floats
    sources: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, name: str, sites: Iterable[Sequence[Any]], *, kind: str = "", source: str = ""
    ) -> Unit:
        """Make a unit of lines ``symbol, x, y, z``, in which X is the end of an arm.

        Without ``kind`` it is a node if it holds a metal, a linker otherwise. Raises a DataError
        if a line is none, or there are no atoms, or fewer than two arms.
        """
        lines = [list(site) for site in sites]
        try:
            positions = np.array([[float(x) for x in line[1:4]] for line in lines]).reshape(-1, 3)
        except (TypeError, ValueError):
            raise DataError("a line is no symbol with three coordinates", where=name) from None
        ends = np.array([line[0] == "X" for line in lines], dtype=bool)
        symbols = tuple(str(line[0]) for line in lines if line[0] != "X")
        metal = METALLIC[atomic_numbers(symbols)].any()
        if not symbols or ends.sum() < 2 or not np.isfinite(positions).all():
            what = f"{len(symbols)} atoms and {int(ends.sum())} open ends make no building unit"
            raise DataError(what, where=name, hint="It takes an atom and two ends marked X")
        kind = kind or ("node" if metal else "linker")
        sources = (source,) if source else ()
        return cls(name, kind, symbols, positions[~ends], positions[ends], sources)

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def arms(self) -> int:
        return len(self.ends)

    @cached_property
    def anchors(self) -> Integers:
        """Atom that carries each arm, (k,): the one nearest to its end."""
        apart = np.linalg.norm(self.positions - self.ends[:, None], axis=2)
        return np.asarray(apart.argmin(axis=1), dtype=np.int64)

    @cached_property
    def halves(self) -> Floats:
        """Length of each arm in Angstrom, (k,): half of the bond that was cut."""
        lengths: Floats = np.linalg.norm(self.ends - self.positions[self.anchors], axis=1)
        return lengths

    @cached_property
    def anchor_symbols(self) -> tuple[str, ...]:
        return tuple(self.symbols[place] for place in self.anchors)

    @cached_property
    def centre(self) -> Floats:
        """Mean of the ends, (3,)."""
        centre: Floats = self.ends.mean(axis=0)
        return centre

    @cached_property
    def directions(self) -> Floats:
        """Unit vectors from the centre to the ends, (k, 3)."""
        away = self.ends - self.centre
        directions: Floats = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
        return directions

    def is_like(self, other: Unit) -> bool:
        """Whether two units are of one kind: atoms, and where arms begin and end.

        Isomers that differ only away from the arms count as one.
        """
        if (sorted(self.symbols), self.kind) != (sorted(other.symbols), other.kind):
            return False
        if self.arms != other.arms or self.arms < 2:
            return False
        if np.abs(np.sort(self.halves) - np.sort(other.halves)).max() > SAME:
            return False
        if self.arms == 2:
            orders = np.array([[0, 1], [1, 0]])
        else:
            orders, _ = assignments(self.directions, other.directions, slack=0.1)
        # Anchors and ends, (2 k, 3) here and (m, 2 k, 3) in each of the m orders there.
        mine = np.concatenate([self.positions[self.anchors], self.ends]) - self.centre
        theirs = np.stack([other.positions[other.anchors], other.ends]) - other.centre
        moved = theirs[:, orders].transpose(1, 0, 2, 3).reshape(len(orders), len(mine), 3)
        given = np.broadcast_to(mine, moved.shape)
        turned = moved @ kabsch(moved, given).transpose(0, 2, 1)
        apart = np.sqrt(((turned - given) ** 2).sum(axis=2).mean(axis=1))
        return bool(apart.min(initial=np.inf) <= SAME)


def hill_formula(symbols: Iterable[str]) -> str:
    """Formula with carbon and hydrogen first, as C8H4O4Zn."""
    counts = Counter(symbols)
    order = sorted(counts, key=lambda s: (s != "C", s != "H" or "C" not in counts, s))
    return "".join(f"{s}{counts[s]}" if counts[s] > 1 else s for s in order)


def kabsch(moving: Floats, still: Floats) -> Floats:
    """Proper rotations R, (m, 3, 3), for which R x of ``moving`` comes nearest to ``still``.

    Both are (m, n, 3).
    """
    u, _, vt = np.linalg.svd(moving.transpose(0, 2, 1) @ still)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]  # no reflection
    rotations: Floats = (u @ vt).transpose(0, 2, 1)
    return rotations


def assignments(targets: Floats, arms: Floats, *, slack: float = 0.05) -> tuple[Integers, Floats]:
    """Every good way to lay arms along target directions, both (n, 3) of length 1 and n > 2.

    Returns the arm for each target, (m, n), and the root mean square distance between directions
    after the best rotation, (m,), ascending, up to ``slack`` above the least. Symmetric arms have
    as many ways as rotations.
    """
    key = (np.round(targets, 4).tobytes(), np.round(arms, 4).tobytes())
    return _assignments(*key, slack)


@lru_cache(maxsize=20_000)
def _assignments(target_bytes: bytes, arm_bytes: bytes, slack: float) -> tuple[Integers, Floats]:
    from scipy.optimize import linear_sum_assignment

    targets = np.frombuffer(target_bytes).reshape(-1, 3)
    arms = np.frombuffer(arm_bytes).reshape(-1, 3)
    n = len(targets)
    # Two arms that are far from parallel, laid along every two targets, fix a rotation each.
    cosines = arms @ arms.T
    first, second = np.unravel_index(np.abs(cosines + 2 * np.eye(n)).argmin(), (n, n))
    here, there = np.nonzero(~np.eye(n, dtype=bool))
    angle = np.arccos(np.clip(cosines[first, second], -1, 1))
    close = np.abs(np.arccos(np.clip((targets @ targets.T)[here, there], -1, 1)) - angle) < 0.8
    close &= np.abs((targets @ targets.T)[here, there]) < 0.999
    here, there = here[close], there[close]
    source = _frames(arms[[first]], arms[[second]])
    rotations = _frames(targets[here], targets[there]) @ source.transpose(0, 2, 1)
    found: set[tuple[int, ...]] = set()
    for _ in range(2):
        orders = [
            linear_sum_assignment(-targets @ (arms @ rotation.T).T)[1] for rotation in rotations
        ]
        found |= {tuple(order.tolist()) for order in orders}
        if not found:
            return np.empty((0, n), dtype=np.int64), np.empty(0)
        chosen = np.array(sorted(found))
        still = np.broadcast_to(targets, (len(chosen), n, 3))
        rotations = kabsch(arms[chosen], still)
    apart = arms[chosen] @ rotations.transpose(0, 2, 1) - still
    rmsd = np.sqrt((apart**2).sum(axis=2).mean(axis=1))
    order = np.argsort(np.round(rmsd, 6), kind="stable")
    order = order[rmsd[order] <= rmsd.min() + slack]
    return chosen[order], rmsd[order]


def _frames(first: Floats, second: Floats) -> Floats:
    """Right-handed frames, (m, 3, 3) with axes as columns, of pairs of directions."""
    middle = first + second
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    normal = np.cross(first, second)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return np.stack([middle, normal, np.cross(middle, normal)], axis=2)


class UnitLibrary(dict[str, Unit]):
    """Units by name, each kind once."""

    def __init__(self, units: Iterable[Unit] = ()) -> None:
        super().__init__((unit.name, unit) for unit in units)

    def require(self, name: str) -> Unit:
        """Return a unit, or raise a DataError that names one like it."""
        if name in self:
            return self[name]
        close = nearest(name, self)
        hint = f"Did you mean {close}?" if close else "Give the file of units with --units"
        raise DataError(f"no building unit is called {name!r}", hint=hint)

    def add(self, unit: Unit) -> str:
        """Merge a unit with its like, and return the name under which it is kept.

        A new kind with a name that is taken gets a number behind it.
        """
        name = base = re.sub(r"(X)_\d+$", r"\1", unit.name)
        count = 1
        while name in self:
            known = self[name]
            if known.is_like(unit):
                self[name] = replace(known, sources=tuple(sorted({*known.sources, *unit.sources})))
                return name
            count += 1
            name = f"{base}_{count}"
        self[name] = replace(unit, name=name)
        return name


def merge_units(
    structures: Iterable[tuple[str, Mapping[str, Sequence[Sequence[Any]]]]],
) -> tuple[UnitLibrary, list[dict[str, str]]]:
    """Merge the units of structures that were read backwards, in the order given.

    Each structure is its name, and its units by their own names as lines ``symbol, x, y, z``.
    Returns the library, and for every structure what its names are called there; capping groups,
    which have one arm, are left out.
    """
    library = UnitLibrary()
    names: list[dict[str, str]] = []
    for structure, units in structures:
        names.append({})
        for name, sites in units.items():
            kind = name.split("_", 1)[0]
            if kind in ("node", "linker") and sum(site[0] == "X" for site in sites) > 1:
                unit = Unit.of(name, sites, kind=kind, source=structure)
                names[-1][name] = library.add(unit)
    return library, names


_ELEMENTS = atomic_numbers(["C", "H", "N", "O", "S", "P", "F", "Cl", "Br", "I", "Si", "B"]).tolist()
_NAMED = re.compile(r"_([A-Z][A-Za-z0-9]*)_(\d+)X")


def unit_features(names: Sequence[str]) -> NDArray[np.float32]:
    """Embed units by the formula and the number of arms in their names, (n, F), log(1 + x).

    Counts of the commonest elements, of metal atoms and of all, and the arms; zeros for a name
    without a formula.
    """
    rows = np.zeros((len(names), len(_ELEMENTS) + 3), dtype=np.float32)
    for row, name in zip(rows, names, strict=True):
        if found := _NAMED.search(name):
            counts = parse_formula(found[1])
            metals = sum(n for z, n in counts.items() if METALLIC[z])
            row[:-3] = [counts.get(z, 0) for z in _ELEMENTS]
            row[-3:] = metals, sum(counts.values()), int(found[2])
    return np.log1p(rows)


def library_of(paths: Sequence[Path]) -> UnitLibrary:
    """Units of some files, then the 930 that come with AuToGraFS, those of PORMAKE among them."""
    shipped = [autografs_data() / name for name in ("defaults.xyz", "pormake.xyz")]
    library = UnitLibrary()
    for path in (*paths, *shipped):
        for name, unit in read_units(path).items():
            library.setdefault(name, unit)
    return library


def write_units(path: Path, units: Iterable[Unit]) -> None:
    """Write units as XYZ, one after another, with the sources of each."""
    lines = []
    for unit in units:
        sources = json.dumps(",".join(unit.sources))
        lines += [str(len(unit) + unit.arms), f"name={unit.name} kind={unit.kind} source={sources}"]
        symbols = [*unit.symbols, *["X"] * unit.arms]
        for symbol, (x, y, z) in zip(symbols, [*unit.positions, *unit.ends], strict=True):
            lines.append(f"{symbol:<2} {x:14.8f} {y:14.8f} {z:14.8f}")
    write_text_atomic(path, "\n".join(lines) + "\n")


def read_units(path: Path) -> UnitLibrary:
    """Read units from XYZ; units with one arm are left out.

    Raises a DataError with the line where the file is not made of units.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or "is no text file"
        raise DataError(str(what), where=str(path), hint="Give a file of building units") from None
    library, place = UnitLibrary(), 0
    while place < len(lines):
        where, begin = f"{path}:{place + 1}", lines[place]
        comment = lines[place + 1] if place + 1 < len(lines) else "0"
        # AuToGraFS' own file has numbers of atoms that no unit follows.
        if not begin or (begin.isdigit() and comment.isdigit()):
            place += 1
            continue
        if not begin.isdigit():
            hint = "Each unit begins with its number of atoms, then a line with name=..."
            raise DataError("no building unit begins here", where=where, hint=hint)
        fields = {key: value.strip('"') for key, value in _FIELD.findall(comment)}
        sites = [line.split() for line in lines[place + 2 : place + 2 + int(begin)]]
        if "name" not in fields or len(sites) < int(begin) or min(map(len, sites), default=0) < 4:
            hint = "It takes a line with name=..., then a line for every atom"
            raise DataError(f"the unit of {begin} atoms is not complete", where=where, hint=hint)
        place += 2 + int(begin)
        if sum(site[0] == "X" for site in sites) < 2:
            continue
        name = fields["name"]
        try:
            unit = Unit.of(name, sites, kind=fields.get("kind", ""))
        except DataError as error:
            raise DataError(error.what, where=where, hint=error.hint) from None
        if name in library:
            hint = "Give every unit a name of its own"
            raise DataError(f"two building units are called {name}", where=where, hint=hint)
        sources = tuple(filter(None, fields.get("source", "").split(",")))
        library[name] = replace(unit, sources=sources)
    if not library:
        hint = "Give a file that describe wrote, or one of AuToGraFS"
        raise DataError("holds no building units", where=str(path), hint=hint)
    return library
