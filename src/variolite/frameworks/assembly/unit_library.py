"""Building units: nodes and linkers with open ends, read backwards from structures or shipped.

An open end, an arm, is where a bond was cut: from an atom of the unit, its anchor, half way to the
atom that it was bonded to. A library holds each kind of unit once, with the structures in which it
was found, and is written as XYZ with one unit after another, in which X marks the ends of arms.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from variolite.atomic import placed
from variolite.crystals.elements import ATOMIC_NUMBERS, METALLIC
from variolite.errors import DataError, nearest

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SAME = 0.3  # Angstrom: root mean square by which anchors and arms of one kind of unit may differ
_SUFFIX = re.compile(r"(X)_\d+$")
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
        cls, name: str, sites: Iterable[Sequence[object]], *, kind: str = "", source: str = ""
    ) -> Unit:
        """Make a unit of lines ``symbol, x, y, z``, in which X is the end of an arm.

        Without ``kind`` it is a node if it holds a metal, a linker otherwise. Raises a DataError
        if a line is none, or there are no atoms, or fewer than two arms.
        """
        symbols, points = [], []
        try:
            for symbol, *xyz in sites:
                symbols.append(str(symbol))
                points.append([float(value) for value in xyz[:3]])  # type: ignore[arg-type]
            positions = np.array(points, dtype=np.float64).reshape(-1, 3)
        except (TypeError, ValueError):
            raise DataError("a line is no symbol with three coordinates", where=name) from None
        unknown = next((s for s in symbols if s != "X" and s not in ATOMIC_NUMBERS), None)
        if unknown is not None:
            raise DataError(f"{unknown!r} is not the symbol of an element", where=name)
        ends = np.array([symbol == "X" for symbol in symbols], dtype=bool)
        real = tuple(symbol for symbol in symbols if symbol != "X")
        if not real or ends.sum() < 2 or not np.isfinite(positions).all():
            what = f"{len(real)} atoms and {int(ends.sum())} open ends make no building unit"
            raise DataError(what, where=name, hint="It takes an atom and two ends marked X")
        metal = any(METALLIC[ATOMIC_NUMBERS[symbol]] for symbol in real)
        kind = kind or ("node" if metal else "linker")
        return cls(name, kind, real, positions[~ends], positions[ends], (source,) * bool(source))

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def arms(self) -> int:
        return len(self.ends)

    @cached_property
    def formula(self) -> str:
        """Formula in the order of Hill."""
        counts = Counter(self.symbols)
        order = sorted(counts, key=lambda s: (s != "C", s != "H" or "C" not in counts, s))
        return "".join(f"{s}{counts[s]}" if counts[s] > 1 else s for s in order)

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
        lengths = np.linalg.norm(away, axis=1, keepdims=True)
        directions: Floats = away / np.maximum(lengths, 1e-9)
        return directions

    def is_like(self, other: Unit) -> bool:
        """Whether two units are of one kind: atoms, and where arms begin and end.

        Isomers that differ only away from the arms count as one.
        """
        if (self.formula, self.kind, self.arms) != (other.formula, other.kind, other.arms):
            return False
        if np.abs(np.sort(self.halves) - np.sort(other.halves)).max() > SAME:
            return False
        mine = np.stack([self.positions[self.anchors], self.ends]) - self.centre  # (2, k, 3)
        theirs = np.stack([other.positions[other.anchors], other.ends]) - other.centre
        if self.arms == 2:
            orders = np.array([[0, 1], [1, 0]])
        else:
            orders, _ = assignments(self.directions, other.directions, slack=0.1)
        if not len(orders):
            return False
        given = np.broadcast_to(mine.reshape(-1, 3), (len(orders), 2 * self.arms, 3))
        moved = theirs[:, orders].transpose(1, 0, 2, 3).reshape(len(orders), -1, 3)
        turned = moved @ kabsch(moved, given).transpose(0, 2, 1)
        apart = np.sqrt(((turned - given) ** 2).sum(axis=2).mean(axis=1))
        return bool(apart.min() <= SAME)


def kabsch(moving: Floats, still: Floats) -> Floats:
    """Proper rotations R, (m, 3, 3), for which R x of ``moving`` comes nearest to ``still``.

    Both are (m, n, 3).
    """
    u, _, vt = np.linalg.svd(moving.transpose(0, 2, 1) @ still)
    sign = np.sign(np.linalg.det(vt.transpose(0, 2, 1) @ u.transpose(0, 2, 1)))
    u[:, :, 2] *= sign[:, None]
    rotations: Floats = vt.transpose(0, 2, 1) @ u.transpose(0, 2, 1)
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


class UnitLibrary(Mapping[str, Unit]):
    """Units by name, each kind once."""

    def __init__(self, units: Iterable[Unit] = ()) -> None:
        self._units: dict[str, Unit] = {}
        for unit in units:
            if unit.name in self._units:
                hint = "Give every unit a name of its own"
                raise DataError("two building units have this name", where=unit.name, hint=hint)
            self._units[unit.name] = unit

    def __getitem__(self, name: str) -> Unit:
        return self._units[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    def require(self, name: str) -> Unit:
        """Return a unit, or raise a DataError that names one like it."""
        if name in self._units:
            return self._units[name]
        close = nearest(name, self._units)
        hint = f"Did you mean {close}?" if close else "Give the file of units with --units"
        raise DataError(f"no building unit is called {name!r}", hint=hint)

    def add(self, unit: Unit) -> str:
        """Merge a unit with its like, and return the name under which it is kept.

        A new kind with a name that is taken gets a number behind it.
        """
        base = _SUFFIX.sub(r"\1", unit.name)
        name, count = base, 1
        while name in self._units:
            known = self._units[name]
            if known.is_like(unit):
                sources = tuple(sorted({*known.sources, *unit.sources}))
                self._units[name] = replace(known, sources=sources)
                return name
            count += 1
            name = f"{base}_{count}"
        self._units[name] = replace(unit, name=name)
        return name

    def including(self, other: Mapping[str, Unit]) -> UnitLibrary:
        """Return a library with the units of another besides; names that are here already stay."""
        extra = (unit for name, unit in other.items() if name not in self._units)
        return UnitLibrary([*self.values(), *extra])


def merge_harvest(
    records: Iterable[Mapping[str, object]],
) -> tuple[UnitLibrary, dict[str, dict[str, str]]]:
    """Merge the units of structures that were read backwards, in the order given.

    Each record has ``file`` and ``fragments``, its own names with lines ``symbol, x, y, z``.
    Returns the library, and for every file what its names are called there; capping groups,
    which have one arm, are left out.
    """
    library = UnitLibrary()
    names: dict[str, dict[str, str]] = {}
    for record in records:
        fragments = record.get("fragments") or {}
        source = Path(str(record["file"])).stem
        names[str(record["file"])] = renamed = {}
        for name, sites in fragments.items():  # type: ignore[attr-defined]
            kind = name.split("_", 1)[0]
            if kind in ("node", "linker") and sum(site[0] == "X" for site in sites) > 1:
                renamed[name] = library.add(Unit.of(name, sites, kind=kind, source=source))
    return library, names


_ELEMENTS = ("C", "H", "N", "O", "S", "P", "F", "Cl", "Br", "I", "Si", "B")
_NAMED = re.compile(r"_([A-Z][A-Za-z0-9]*)_(\d+)X")


def unit_features(names: Sequence[str]) -> NDArray[np.float32]:
    """Embed units by the formula and the number of arms in their names, (n, F), log(1 + x).

    Counts of the commonest elements, of metal atoms and of all, and the arms; zeros for a name
    without a formula.
    """
    rows = np.zeros((len(names), len(_ELEMENTS) + 3), dtype=np.float32)
    for row, name in zip(rows, names, strict=True):
        if found := _NAMED.search(name):
            counts = Counter[str]()
            for symbol, number in re.findall(r"([A-Z][a-z]?)(\d*)", found[1]):
                counts[symbol] += int(number or 1)
            metals = (METALLIC[ATOMIC_NUMBERS[s]] * n for s, n in counts.items())
            row[:-3] = [counts[symbol] for symbol in _ELEMENTS]
            row[-3:] = sum(metals), counts.total(), int(found[2])
    return np.log1p(rows)


def shipped_units() -> UnitLibrary:
    """Return the 930 units that come with AuToGraFS, those of PORMAKE among them."""
    from variolite.frameworks.assembly.nets import autografs_data

    files = (autografs_data() / name for name in ("defaults.xyz", "pormake.xyz"))
    return UnitLibrary(unit for path in files for unit in read_units(path).values())


def write_units(path: Path, units: Iterable[Unit]) -> None:
    """Write units as XYZ, one after another, with the sources of each."""
    lines = []
    for unit in units:
        sources = json.dumps(",".join(unit.sources))
        lines += [str(len(unit) + unit.arms), f"name={unit.name} kind={unit.kind} source={sources}"]
        ends = (("X", end) for end in unit.ends)
        for symbol, (x, y, z) in [*zip(unit.symbols, unit.positions, strict=True), *ends]:
            lines.append(f"{symbol:<2} {x:14.8f} {y:14.8f} {z:14.8f}")
    with placed(path) as (temporary, _):
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_units(path: Path) -> UnitLibrary:
    """Read units from XYZ; units with one arm are left out.

    Raises a DataError with the line where the file is not made of units.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or "is no text file"
        raise DataError(str(what), where=str(path), hint="Give a file of building units") from None
    units, place = [], 0
    while place < len(lines):
        following = lines[place + 1].strip() if place + 1 < len(lines) else "0"
        # AuToGraFS' own file has numbers of atoms that no unit follows.
        if not lines[place].strip() or (lines[place].strip() + following).isdigit():
            place += 1
            continue
        where = f"{path}:{place + 1}"
        if not lines[place].strip().isdigit():
            hint = "Each unit begins with its number of atoms, then a line with name=..."
            raise DataError("no building unit begins here", where=where, hint=hint)
        count = int(lines[place])
        fields = dict(_FIELD.findall(following))
        sites = [line.split() for line in lines[place + 2 : place + 2 + count]]
        if "name" not in fields or len(sites) < count or any(len(site) < 4 for site in sites):
            hint = "It takes a line with name=..., then a line for every atom"
            raise DataError(f"the unit of {count} atoms is not complete", where=where, hint=hint)
        place += 2 + count
        if sum(site[0] == "X" for site in sites) < 2:
            continue
        kind, sources = fields.get("kind", ""), fields.get("source", '""').strip('"')
        try:
            unit = Unit.of(fields["name"].strip('"'), sites, kind=kind)
        except DataError as error:
            raise DataError(error.what, where=where, hint=error.hint) from None
        units.append(replace(unit, sources=tuple(filter(None, sources.split(",")))))
    if not units:
        hint = "Give a file that describe wrote, or one of AuToGraFS"
        raise DataError("holds no building units", where=str(path), hint=hint)
    return UnitLibrary(units)
