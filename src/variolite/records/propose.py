"""Proposing a schema for a table that nobody has described yet.

Every decision is a plain rule with a remark that says what was seen, so that a user
can see at once where the proposal is wrong.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from variolite.errors import DataError, SchemaError, nearest
from variolite.records.profile import (
    ABSURD,
    SAMPLE,
    Array,
    Profile,
    choose_transform,
    floor_of_positive,
    profile_column,
)
from variolite.records.schema import Column, Schema
from variolite.records.tables import read_table
from variolite.text_table import text_table

_MOST_LEVELS = 300  # Levels beyond which text is taken to be free text.

# Words of headers that tell what a column is for; lower case, in any position.
_GROUP = {"well", "wells", "hole", "borehole", "site", "station", "expedition", "exp"}
_GROUP |= {"family", "campaign", "patient", "subject", "group", "plot"}
_ORDER = {"depth", "dept", "md", "tvd", "mbsf", "time", "age"}
_DOUBT = {"confidence", "probability", "certainty", "quality", "flag"}
_PLACE = {"latitude", "longitude", "lat", "lon", "easting", "northing", "utm", "loc"}
_IDENTITY = {"id", "sample", "name", "uuid", "key", "code"}
# Bookkeeping only where a header holds nothing but such words: "core" is, "core porosity" not.
_BOOKKEEPING = {"offset", "test", "no", "core", "sect", "section", "row", "index", "number"}
_BOOKKEEPING |= {"type", "id", "comment", "comments", "unnamed", "1"}


# A proposed schema with the reasons for it, as text and as YAML.


@dataclass(frozen=True)
class Remark:
    """One observation about a column of the table, in plain words."""

    column: str
    text: str


@dataclass(frozen=True)
class Proposal:
    """A schema for a table, and why.

    Attributes
    ----------
    schema
        Bound to nothing; finds its columns by name and alias.
    remarks
        What was seen, in the order of the table.
    left_out
        Table columns that the schema does not use.
    """

    schema: Schema
    remarks: tuple[Remark, ...] = ()
    left_out: tuple[str, ...] = ()

    def remarks_on(self, column: str) -> list[str]:
        """Return the remarks on one column of the table."""
        return [remark.text for remark in self.remarks if remark.column == column]

    def __str__(self) -> str:
        """Return a table of the columns, then every remark."""
        header = ("column", "role", "unit", "transform", "missing")
        rows = [
            (c.name, c.role, c.unit or "", ", ".join(step.name for step in c.transform), c.missing)
            for c in self.schema.columns.values()
        ]
        lines = [text_table(header, rows), ""]
        for remark in self.remarks:
            lines += _wrapped(f"{remark.column}: {remark.text}", "", "    ", break_words=False)
        return "\n".join(lines)

    def to_yaml(self) -> str:
        """Return the schema as YAML that loads back, with the remarks as comments."""
        by_name: dict[str, list[str]] = {}
        for name, column in self.schema.columns.items():
            headers = {header.casefold() for header in (name, *column.aliases)}
            by_name[name] = [r.text for r in self.remarks if r.column.casefold() in headers]
        lines: list[str] = []
        for line in self.schema.to_yaml().splitlines():
            key = line.strip().rstrip(":").split(":")[0].strip("'\"")
            if line.startswith("  ") and not line.startswith("   "):
                for text in by_name.get(key, ()):
                    lines += _wrapped(text, "  # ", "  # ")
            lines.append(line)
        for header in self.left_out:
            for text in self.remarks_on(header):
                lines += _wrapped(f"{header}: {text}", "# ", "# ")
        return "\n".join(lines) + "\n"


def _wrapped(text: str, first: str, others: str, *, break_words: bool = True) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()) if break_words else text,
        96,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=break_words,
        break_on_hyphens=break_words,
    )


def propose_schema(
    frame: Any, *, units: Mapping[str, str] | None = None, group: str | None = None
) -> Proposal:
    """Propose a role, unit, transform and missing-value policy for every column.

    Parameters
    ----------
    frame
        Anything that :func:`variolite.records.read_table` takes.
    units
        Units by table column, from :func:`variolite.records.units_of`.
    group
        Table column that names the groups, where it is known.

    Returns
    -------
    Proposal
        A schema that fits this table, and a remark for every column worth a look.

    Raises
    ------
    DataError
        If no column looks like a measurement, or ``group`` is not in the table.

    Examples
    --------
    >>> import numpy as np
    >>> depth = np.tile(np.arange(100.0), 3)
    >>> frame = {"WELL": np.repeat(["A", "B", "C"], 100), "DEPTH": depth, "GR": np.sin(depth)}
    >>> proposal = propose_schema(frame)
    >>> [(column.name, column.role) for column in proposal.schema.columns.values()]
    [('well', 'group'), ('depth', 'order'), ('gr', 'input')]
    >>> proposal.remarks_on("WELL")
    ['names 3 groups; a split keeps their rows together']
    """
    table = read_table(frame)
    if group is not None and group not in table.columns:
        close = nearest(group, table.columns)
        raise DataError(
            f"has no column {group!r}", hint=f"Did you mean {close!r}?" if close else None
        )
    profiles = [
        profile_column(series, (units or {}).get(series.name)) for series in table.iter_columns()
    ]
    return _Inference(profiles, table.height, group).propose()


class _Inference:
    """Decisions about the columns of one table, taken in turn."""

    def __init__(self, profiles: list[Profile], rows: int, group: str | None) -> None:
        self.profiles = profiles
        self.rows = rows
        self.settings: dict[str, dict[str, Any]] = {}
        self.remarks: dict[str, list[str]] = {}
        self.left_out: list[str] = []
        self.group = self._find_group(group)
        # Which rows, from the second on, are of the same group as the row before.
        self.within = np.ones(max(rows - 1, 0), dtype=bool)
        if self.group is not None:
            text, values = self.group.text, self.group.values
            if text is not None:
                self.within = (text == text.shift(1)).slice(1).to_numpy()
            elif values is not None:
                self.within = values[1:] == values[:-1]

    def propose(self) -> Proposal:
        self._find_order()
        for profile in self.profiles:
            if profile.source not in self.settings and profile.source not in self.left_out:
                self._decide(profile)
        if not self._has_role("label"):
            self._promote_labels()
        self._note_repeats()
        return self._finish()

    def remark(self, profile: Profile, text: str) -> None:
        self.remarks.setdefault(profile.source, []).append(text)

    def leave_out(self, profile: Profile, why: str) -> None:
        self.left_out.append(profile.source)
        self.remark(profile, f"left out, as it {why}")

    def _has_role(self, role: str) -> bool:
        return any(settings.get("role") == role for settings in self.settings.values())

    def _together(self, profile: Profile) -> bool:
        """Whether the rows of every name follow one another, with few exceptions."""
        runs = 1 + profile.steps * (self.rows * profile.present - 1)
        return runs <= 1.1 * profile.distinct + 1

    def _find_group(self, wanted: str | None) -> Profile | None:
        candidates = [
            profile
            for profile in self.profiles
            if (profile.text is not None or profile.whole)
            and not profile.date
            and profile.present > 0.99
            and 2 <= profile.distinct <= max(self.rows / 5, 2)
        ]
        named = [profile for profile in candidates if _GROUP & profile.words]
        if wanted is not None:
            chosen = [profile for profile in self.profiles if profile.source == wanted]
        elif candidates:
            chosen = (
                [p for p in named if self._together(p)]
                or [p for p in candidates if self._together(p) and p.text is not None]
                or [p for p in named if not p.label_like]
            )
        else:
            # The name of the one borehole of a log file, for stacking it with others.
            for p in self.profiles:
                if p.text is not None and p.distinct == 1 and _GROUP & p.words:
                    self.settings[p.source] = {"role": "group"}
                    self.remark(p, "names one group only; a split needs tables of others as well")
                    break
            return None
        if not chosen:
            return None
        best = max(chosen, key=lambda profile: profile.distinct)
        self.settings[best.source] = {"role": "group"}
        self.remark(best, f"names {best.distinct} groups; a split keeps their rows together")
        if not self._together(best):
            self.remark(
                best, "rows of a group do not stand together, so check that names are unique"
            )
        for other in named:
            text = other.text is not None and not other.label_like
            if other is best or self._together(other) or not text:
                continue
            self.left_out.append(other.source)
            names = best.text if best.text is not None else pl.Series(best.values)
            pairs = pl.DataFrame({"best": names, "other": other.text}).n_unique()
            self.remark(
                other,
                f"left out: its {other.distinct} values come back in other groups. With "
                f"{best.source!r} they name {pairs} smaller groups; build one column of both "
                "to split by these",
            )
        return best

    def _steps(self, values: Array) -> tuple[float, float, float]:
        """Return the fractions of steps inside a group that rise, fall and stay."""
        steps = np.diff(values)[self.within]
        steps = steps[~np.isnan(steps)]
        if not steps.size:
            return 0.0, 0.0, 0.0
        return float((steps > 0).mean()), float((steps < 0).mean()), float((steps == 0).mean())

    def _find_order(self) -> None:
        positions = []
        for profile in self.profiles:
            if profile.values is None or profile.source in self.settings:
                continue
            rising, falling, still = self._steps(profile.values)
            if still > 0.95 or profile.distinct < 10 or profile.present < 0.5:
                continue
            named = bool(_ORDER & profile.words)
            if named or max(rising, falling) > 0.95:
                positions.append((not named, profile, rising))
        positions.sort(key=lambda item: item[0])
        for rank, (unnamed, profile, rising) in enumerate(positions):
            if rank == 0 and (not unnamed or rising > 0.99):
                self.settings[profile.source] = {"role": "order"}
                doubt = f"; it rises in {rising:.0%} of the steps only" if rising < 0.99 else ""
                self.remark(profile, f"gives the order of the rows{doubt}")
            else:
                self.leave_out(profile, "rises or falls steadily: a position, not a measurement")

    def _decide(self, profile: Profile) -> None:
        """Give a column a role, or leave it out, by the first rule that holds."""
        text, words, distinct = profile.text is not None, profile.words, profile.distinct
        whole, entries = profile.whole, round(profile.present * self.rows)
        still = 0.0 if profile.values is None else self._steps(profile.values)[2]
        identity = _IDENTITY & words and profile.present > 0.99 and not self._has_role("id")
        kind = "it could be a label, or an input with 'kind: category'"
        rules: tuple[tuple[Any, str | Callable[[Profile], None]], ...] = (
            (not entries, profile.trouble or "is empty"),
            (distinct == 1, "holds one value only"),
            (
                profile.present < (0.5 if text else 0.1),
                f"is empty in {1 - profile.present:.0%} of the rows",
            ),
            (profile.date, "holds dates or times"),
            (words & _PLACE, "says where, not what"),
            (words & _DOUBT, "seems to say how sure another column is"),
            (text and distinct > 0.98 * entries and identity, self._id),
            (text and distinct > 0.98 * entries, "differs in almost every row"),
            (
                text and distinct > min(_MOST_LEVELS, self.rows / 5),
                f"is free text with {distinct} values",
            ),
            (profile.label_like and (text or (whole and distinct <= 50)), self._label),
            (text, f"is text with {distinct} values; {kind}"),
            (words <= _BOOKKEEPING, "seems to be bookkeeping, not a measurement"),
            (profile.trouble, f"is not all numbers: {profile.trouble}"),
            (
                whole and distinct > 0.98 * entries and entries > 50,
                "is a whole number that differs in every row, like an id",
            ),
            (profile.commonest > 0.95, f"is the same in {profile.commonest:.1%} of its rows"),
            (whole and distinct <= 10, f"holds {distinct} whole numbers, like a code; {kind}"),
            (
                still > 0.95,
                "hardly changes from row to row: it describes "
                + ("the group" if self.group else "a stretch of rows"),
            ),
            (True, self._input),
        )
        decision = next(decision for holds, decision in rules if holds)
        if isinstance(decision, str):
            self.leave_out(profile, decision)
        else:
            decision(profile)

    def _id(self, profile: Profile) -> None:
        self.settings[profile.source] = {"role": "id"}
        self.remark(profile, "differs in every row and is carried along as an id")

    def _label(self, profile: Profile) -> None:
        self.settings[profile.source] = {"role": "label"}
        text = f"looks like a label with {profile.distinct} classes: scored against, never modelled"
        if profile.present < 1:
            text += f"; {1 - profile.present:.1%} of the rows have none"
        self.remark(profile, text)

    def _promote_labels(self) -> None:
        """Without a telling name, take text that stays the same over stretches of rows."""
        for profile in self.profiles:
            few = 2 <= profile.distinct <= min(50, self.rows / 20)
            plain = not (profile.words <= _BOOKKEEPING or _GROUP & profile.words or profile.date)
            if (
                profile.text is not None
                and profile.source in self.left_out
                and (few and plain and profile.present > 0.5 and profile.steps < 0.34)
            ):
                self.left_out.remove(profile.source)
                self.remarks.pop(profile.source)
                self._label(profile)

    def _input(self, profile: Profile) -> None:
        assert profile.values is not None
        present = profile.values[~np.isnan(profile.values)]
        settings: dict[str, Any] = {}
        if profile.unit:
            settings["unit"] = profile.unit
        if profile.sentinels:
            settings["sentinels"] = list(profile.sentinels)
            listed = ", ".join(f"{value:g}" for value in profile.sentinels)
            self.remark(profile, f"holds {listed}, taken to mean missing")
        if profile.absurd:
            settings["valid"] = [-ABSURD, ABSURD]
            self.remark(profile, f"holds {profile.absurd} infinite or absurd values, made missing")
        bounds = profile.bounds(present)
        shape = choose_transform(present, bounds)
        floor = floor_of_positive(present)
        if floor is not None:
            positive = choose_transform(present[present > 0], bounds)
            if positive.transform[0] == "log10":
                shape = positive
                settings["valid"] = [floor, None]
                few = int((present <= 0).sum())
                self.remark(profile, f"is 0 or below in {few} rows, which count as missing")
                present = present[present > 0]
        if shape.transform != ["standardise"]:
            settings["transform"] = shape.transform
            step = shape.transform[0]
            name = step if isinstance(step, str) else next(iter(step))
            self.remark(profile, f"is skewed; {name} brings it closer to a normal curve")
        if shape.after > 0.15:
            self.remark(
                profile, "is far from a normal curve even so; 'quantile' is a stronger remedy"
            )
        if bounds is not None:
            settings["learn_bounds"] = True
            self.remark(profile, f"lies between {bounds[0]:g} and {bounds[1]:g}, and is kept there")
        if shape.outliers:
            settings["clip"] = [0.001, 0.999]
            low, high = np.quantile(present, [0.001, 0.999])
            self.remark(
                profile,
                f"has gross outliers ({present.min():g} to {present.max():g}, but 99.8 % lie "
                f"between {low:.4g} and {high:.4g}), so it is clipped",
            )
        if profile.whole:
            settings["learn_rounding"] = True
            self.remark(profile, "holds whole numbers, like counts")
        if profile.present < 0.95:
            settings["missing"] = "mask"
            lacking = 1 - profile.present
            self.remark(profile, f"is missing in {lacking:.0%} of the rows, so it is masked")
        self.settings[profile.source] = settings

    def _note_repeats(self) -> None:
        """Remark on inputs that follow another one, by the correlation of their ranks."""
        step = -(-self.rows // SAMPLE)
        # Ranks: a repeat in other units or on a log scale is a repeat too.
        ranks = [
            (p, pl.Series(p.values[::step]).fill_nan(None).rank().to_numpy())
            for p in self.profiles
            if p.values is not None and "role" not in self.settings.get(p.source, {"role": ""})
        ]
        for i, (second, theirs) in enumerate(ranks):
            for first, ours in ranks[:i]:
                both = ~np.isnan(ours) & ~np.isnan(theirs)
                pair = np.vstack([ours[both], theirs[both]])
                if both.sum() < 50 or not (pair.std(axis=1) > 0).all():
                    continue
                if abs(np.corrcoef(pair)[0, 1]) > 0.99:
                    self.remark(
                        second, f"almost repeats {first.source!r}: together they count twice"
                    )
                    break

    def _finish(self) -> Proposal:
        columns: dict[str, Column] = {}
        for profile in self.profiles:
            if profile.source not in self.settings:
                continue
            name, number = profile.name, 2
            while name in columns:
                name, number = f"{profile.name}_{number}", number + 1
            settings = dict(self.settings[profile.source])
            if settings.get("role") == "order" and profile.unit:
                settings["unit"] = profile.unit
            if name != profile.source.casefold():
                settings["aliases"] = [profile.source]
            columns[name] = Column(name=name, **settings)
        try:
            schema = Schema(columns=columns)
        except SchemaError:
            raise DataError(
                "no column of the table looks like a measurement",
                hint="Write a schema by hand, or check how the table was exported",
            ) from None
        if not self._has_role("group"):
            self.remarks["(no group)"] = [
                "no column was found that names boreholes, families or campaigns. Without one, "
                "rows of the same origin end up on both sides of a split, and scores flatter"
            ]
        order = [profile.source for profile in self.profiles] + ["(no group)"]
        remarks = tuple(Remark(name, text) for name in order for text in self.remarks.get(name, []))
        out = tuple(p.source for p in self.profiles if p.source in self.left_out)
        return Proposal(schema, remarks, out)
