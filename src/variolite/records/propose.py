"""Proposing a schema for a table that nobody has described yet.

Every decision is a plain rule with a remark that says what was seen, so that a user
can see at once where the proposal is wrong.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, SchemaError, nearest
from variolite.records.profile import (
    ABSURD,
    BOOKKEEPING_WORDS,
    DOUBT_WORDS,
    GROUP_WORDS,
    IDENTITY_WORDS,
    MOST_LEVELS,
    ORDER_WORDS,
    PLACE_WORDS,
    Profile,
    count_pairs,
    floor_of_positive,
    label_like,
    natural_bounds,
    profile_column,
    same_group,
    steps_within,
)
from variolite.records.schema import Column, Schema
from variolite.records.tables import read_table
from variolite.records.transforms import dump_transform, fit_transform_chain
from variolite.text_table import text_table

# Choosing a transform for a column by how close it brings the values to a normal curve.


Array = NDArray[np.float64]
_SAMPLE = 20_000
_GROSS = 10.0  # Robust standard deviations beyond which a value is a gross outlier.


@dataclass(frozen=True)
class Shape:
    """The transform found for a column.

    Attributes
    ----------
    transform
        Steps, as a schema file spells them.
    before, after
        Lack of normality without and with it: 1 - r2 of the normal probability plot.
    outliers
        Whether values lie grossly beyond the rest even after the transform.
    """

    transform: list[Any]
    before: float
    after: float
    outliers: bool


def normality(values: Array) -> float:
    """Return 1 - r2 of the normal probability plot of ``values``, shape [n].

    0 for values that follow a normal curve exactly (Shapiro and Francia, Journal of
    the American Statistical Association 67, 1972).
    """
    ordered = np.sort(values)
    n = ordered.size
    scores = np.interp((np.arange(1, n + 1) - 0.375) / (n + 0.25), *_normal_table())
    spread = ordered.std()
    if n < 3 or not spread > 0:
        return 1.0
    return float(1.0 - np.corrcoef(ordered, scores)[0, 1] ** 2)


@cache
def _normal_table() -> tuple[Array, Array]:
    """Exact quantiles at 2,001 places evenly spaced in the score."""
    scores = np.linspace(-6.0, 6.0, 2001)
    return np.array([NormalDist().cdf(score) for score in scores]), scores


def choose_transform(values: Array, bounds: tuple[float, float] | None = None) -> Shape:
    """Choose among none, log10, signed log and logit, always followed by standardise.

    The simplest is kept unless another halves the lack of normality of the bulk
    (between the 0.1 % and 99.9 % quantiles).

    Parameters
    ----------
    values
        Finite values, shape [n], not all equal.
    bounds
        Natural bounds, such as (0, 1), which open the way to a logit.
    """
    step = -(-values.size // _SAMPLE)
    sample = values[::step]
    bulk = np.clip(sample, *np.quantile(sample, [0.001, 0.999]))
    if bulk.min() == bulk.max():
        return Shape(["standardise"], 1.0, 1.0, outliers=False)
    candidates = _candidates(values, bulk, bounds)
    scored = [(normality(fit_transform_chain(c, bulk).forward(bulk)), c) for c in candidates]
    before = scored[0][0]
    after, best = min(scored, key=lambda item: item[0])
    if before < 0.05 or after > 0.5 * before:
        after, best = scored[0]
    whole = fit_transform_chain(best, bulk).forward(values)
    whole = whole[np.isfinite(whole)]
    low, middle, high = np.quantile(whole, [0.25, 0.5, 0.75])
    sd = max((high - low) / 1.349, 1e-12 * max(abs(middle), 1e-12))
    outliers = bool(np.abs(whole - middle).max() > _GROSS * sd)
    return Shape([*best, "standardise"], before, after, outliers)


def _candidates(
    values: Array, bulk: Array, bounds: tuple[float, float] | None
) -> Sequence[list[Any]]:
    found: list[list[Any]] = [[]]
    if values.min() > 0:
        found.append(["log10"])
    found.append(["signed_log"])
    size = float(np.median(np.abs(bulk)))
    if size > 0:
        scale = float(10.0 ** np.floor(np.log10(size)))
        if scale != 1.0:
            found.append([{"signed_log": {"scale": scale}}])
    if bounds is not None:
        margin = 0.005 * (bounds[1] - bounds[0])
        found.append([{"logit": {"lower": bounds[0] - margin, "upper": bounds[1] + margin}}])
    return found


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
        lines = [text_table(header, map(_cells, self.schema.columns.values())), ""]
        for remark in self.remarks:
            lines += textwrap.wrap(
                f"{remark.column}: {remark.text}",
                width=96,
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        return "\n".join(lines)

    def to_yaml(self) -> str:
        """Return the schema as YAML that loads back, with the remarks as comments."""
        body = self.schema.to_yaml().splitlines()
        by_name: dict[str, list[str]] = {}
        for name, column in self.schema.columns.items():
            headers = {header.casefold() for header in (name, *column.aliases)}
            by_name[name] = [r.text for r in self.remarks if r.column.casefold() in headers]
        lines: list[str] = []
        for line in body:
            key = line.strip().rstrip(":").split(":")[0].strip("'\"")
            if line.startswith("  ") and not line.startswith("   ") and key in by_name:
                for text in by_name[key]:
                    lines += _comment(text, "  ")
            lines.append(line)
        for header in self.left_out:
            for text in self.remarks_on(header):
                lines += _comment(f"{header}: {text}", "")
        return "\n".join(lines) + "\n"


def _cells(column: Column) -> tuple[str, ...]:
    steps = [dump_transform(step) for step in column.transform]
    shown = [step if isinstance(step, str) else next(iter(step)) for step in steps]
    return (column.name, column.role, column.unit or "", ", ".join(shown), column.missing)


def _comment(text: str, indent: str) -> list[str]:
    plain = " ".join(text.split())
    return textwrap.wrap(plain, 96, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


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
        self.within = same_group(self.group, rows)

    def propose(self) -> Proposal:
        self._find_order()
        for profile in self.profiles:
            if profile.source not in self.settings and profile.source not in self.left_out:
                self._decide(profile)
        if not any(settings.get("role") == "label" for settings in self.settings.values()):
            self._promote_labels()
        self._note_repeats()
        return self._finish()

    def say(self, profile: Profile, text: str) -> None:
        self.remarks.setdefault(profile.source, []).append(text)

    def leave_out(self, profile: Profile, why: str) -> None:
        self.left_out.append(profile.source)
        self.say(profile, f"left out, as it {why}")

    def _find_group(self, wanted: str | None) -> Profile | None:
        def together(profile: Profile) -> bool:
            runs = 1 + profile.steps * (self.rows * profile.present - 1)
            return runs <= 1.1 * profile.distinct + 1

        candidates = [
            profile
            for profile in self.profiles
            if (profile.text is not None or profile.whole)
            and not profile.date
            and profile.present > 0.99
            and 2 <= profile.distinct <= max(self.rows / 5, 2)
        ]
        if wanted is None and not candidates:
            self._keep_single_group()
            return None
        named = [profile for profile in candidates if GROUP_WORDS & set(profile.words)]
        if wanted is not None:
            chosen = [profile for profile in self.profiles if profile.source == wanted]
        else:
            chosen = [profile for profile in named if together(profile)]
            chosen = chosen or [p for p in candidates if together(p) and p.text is not None]
            chosen = chosen or [p for p in named if not label_like(p)]
        if not chosen:
            return None
        best = max(chosen, key=lambda profile: profile.distinct)
        self.settings[best.source] = {"role": "group"}
        self.say(best, f"names {best.distinct} groups; a split keeps their rows together")
        if not together(best):
            self.say(best, "rows of a group do not stand together, so check that names are unique")
        for other in named:
            loose = not together(other) and other.text is not None and not label_like(other)
            if other is not best and loose:
                self.left_out.append(other.source)
                pairs = count_pairs(best, other)
                self.say(
                    other,
                    f"left out: its {other.distinct} values come back in other groups. With "
                    f"{best.source!r} they name {pairs} smaller groups; build one column of both "
                    "to split by these",
                )
        return best

    def _keep_single_group(self) -> None:
        """Keep the name of the one borehole of a log file, for stacking it with others."""
        for profile in self.profiles:
            if (
                profile.text is not None
                and profile.distinct == 1
                and GROUP_WORDS & set(profile.words)
            ):
                self.settings[profile.source] = {"role": "group"}
                self.say(profile, "names one group only; a split needs tables of others as well")
                return

    def _find_order(self) -> None:
        positions = []
        for profile in self.profiles:
            if profile.values is None or profile.source in self.settings:
                continue
            rising, falling, still = steps_within(profile.values, self.within)
            if still > 0.95 or profile.distinct < 10 or profile.present < 0.5:
                continue
            named = bool(ORDER_WORDS & set(profile.words))
            if named or max(rising, falling) > 0.95:
                positions.append((not named, profile, rising))
        positions.sort(key=lambda item: item[0])
        for rank, (unnamed, profile, rising) in enumerate(positions):
            if rank == 0 and (not unnamed or rising > 0.99):
                self.settings[profile.source] = {"role": "order"}
                doubt = f"; it rises in {rising:.0%} of the steps only" if rising < 0.99 else ""
                self.say(profile, f"gives the order of the rows{doubt}")
            else:
                self.leave_out(profile, "rises or falls steadily: a position, not a measurement")

    def _decide(self, profile: Profile) -> None:
        words = set(profile.words)
        if profile.present == 0:
            self.leave_out(profile, profile.trouble or "is empty")
        elif profile.distinct == 1:
            self.leave_out(profile, "holds one value only")
        elif profile.present < 0.1 or (profile.text is not None and profile.present < 0.5):
            self.leave_out(profile, f"is empty in {1 - profile.present:.0%} of the rows")
        elif profile.date:
            self.leave_out(profile, "holds dates or times")
        elif words & PLACE_WORDS:
            self.leave_out(profile, "says where, not what")
        elif words & DOUBT_WORDS:
            self.leave_out(profile, "seems to say how sure another column is")
        elif profile.text is not None:
            self._decide_text(profile)
        elif profile.whole and profile.distinct <= 50 and label_like(profile):
            self._label(profile)
        else:
            self._decide_number(profile)

    def _decide_text(self, profile: Profile) -> None:
        words = set(profile.words)
        if profile.distinct > 0.98 * self.rows * profile.present:
            taken = any(settings.get("role") == "id" for settings in self.settings.values())
            if words & IDENTITY_WORDS and not taken and profile.present > 0.99:
                self.settings[profile.source] = {"role": "id"}
                self.say(profile, "differs in every row and is carried along as an id")
            else:
                self.leave_out(profile, "differs in almost every row")
        elif profile.distinct > min(MOST_LEVELS, self.rows / 5):
            self.leave_out(profile, f"is free text with {profile.distinct} values")
        elif label_like(profile):
            self._label(profile)
        else:
            self.leave_out(
                profile,
                f"is text with {profile.distinct} values; it could be a label, or an input "
                "with 'kind: category'",
            )

    def _label(self, profile: Profile) -> None:
        self.settings[profile.source] = {"role": "label"}
        text = f"looks like a label with {profile.distinct} classes: scored against, never modelled"
        if profile.present < 1:
            text += f"; {1 - profile.present:.1%} of the rows have none"
        self.say(profile, text)

    def _promote_labels(self) -> None:
        for profile in self.profiles:
            is_text = profile.text is not None and profile.source in self.left_out
            few = 2 <= profile.distinct <= min(50, self.rows / 20)
            plain = not (set(profile.words) <= BOOKKEEPING_WORDS) and not profile.date
            if is_text and few and plain and profile.present > 0.5 and profile.steps < 0.34:
                if set(profile.words) & GROUP_WORDS:
                    continue
                self.left_out.remove(profile.source)
                self.remarks.pop(profile.source)
                self._label(profile)

    def _decide_number(self, profile: Profile) -> None:
        assert profile.values is not None
        present = profile.values[~np.isnan(profile.values)]
        still = steps_within(profile.values, self.within)[2]
        if set(profile.words) <= BOOKKEEPING_WORDS:
            self.leave_out(profile, "seems to be bookkeeping, not a measurement")
        elif profile.trouble is not None:
            self.leave_out(profile, f"is not all numbers: {profile.trouble}")
        elif profile.whole and profile.distinct > 0.98 * present.size and present.size > 50:
            self.leave_out(profile, "is a whole number that differs in every row, like an id")
        elif profile.commonest > 0.95:
            self.leave_out(profile, f"is the same in {profile.commonest:.1%} of its rows")
        elif profile.whole and profile.distinct <= 10:
            self.leave_out(
                profile,
                f"holds {profile.distinct} whole numbers, like a code; it could be a label, or an "
                "input with 'kind: category'",
            )
        elif still > 0.95:
            what = "the group" if self.group else "a stretch of rows"
            self.leave_out(profile, f"hardly changes from row to row: it describes {what}")
        else:
            self._input(profile, present)

    def _input(self, profile: Profile, present: NDArray[np.float64]) -> None:
        settings: dict[str, Any] = {}
        if profile.unit:
            settings["unit"] = profile.unit
        if profile.sentinels:
            settings["sentinels"] = list(profile.sentinels)
            listed = ", ".join(f"{value:g}" for value in profile.sentinels)
            self.say(profile, f"holds {listed}, taken to mean missing")
        if profile.absurd:
            settings["valid"] = [-ABSURD, ABSURD]
            self.say(profile, f"holds {profile.absurd} infinite or absurd values, made missing")
        bounds = natural_bounds(profile, present)
        shape = choose_transform(present, bounds)
        floor = floor_of_positive(present)
        if floor is not None:
            positive = choose_transform(present[present > 0], bounds)
            if positive.transform[0] == "log10":
                shape = positive
                settings["valid"] = [floor, None]
                few = int((present <= 0).sum())
                self.say(profile, f"is 0 or below in {few} rows, which count as missing")
                present = present[present > 0]
        if shape.transform != ["standardise"]:
            settings["transform"] = shape.transform
            step = shape.transform[0]
            name = step if isinstance(step, str) else next(iter(step))
            self.say(profile, f"is skewed; {name} brings it closer to a normal curve")
        if shape.after > 0.15:
            self.say(profile, "is far from a normal curve even so; 'quantile' is a stronger remedy")
        if bounds is not None:
            settings["learn_bounds"] = True
            self.say(profile, f"lies between {bounds[0]:g} and {bounds[1]:g}, and is kept there")
        if shape.outliers:
            settings["clip"] = [0.001, 0.999]
            low, high = np.quantile(present, [0.001, 0.999])
            self.say(
                profile,
                f"has gross outliers ({present.min():g} to {present.max():g}, but 99.8 % lie "
                f"between {low:.4g} and {high:.4g}), so it is clipped",
            )
        if profile.whole:
            settings["learn_rounding"] = True
            self.say(profile, "holds whole numbers, like counts")
        if profile.present < 0.95:
            settings["missing"] = "mask"
            lacking = 1 - profile.present
            self.say(profile, f"is missing in {lacking:.0%} of the rows, so it is masked")
        self.settings[profile.source] = settings

    def _note_repeats(self) -> None:
        inputs = [
            p for p in self.profiles if "role" not in self.settings.get(p.source, {"role": ""})
        ]
        step = -(-self.rows // 20_000)
        samples = []
        for profile in inputs:
            assert profile.values is not None
            # Ranks: a repeat in other units or on a log scale is a repeat too.
            samples.append(pl.Series(profile.values[::step]).fill_nan(None).rank().to_numpy())
        for second in range(len(inputs)):
            for first in range(second):
                both = ~np.isnan(samples[first]) & ~np.isnan(samples[second])
                if both.sum() < 50:
                    continue
                pair = np.vstack([samples[first][both], samples[second][both]])
                if (pair.std(axis=1) > 0).all() and abs(np.corrcoef(pair)[0, 1]) > 0.99:
                    self.say(
                        inputs[second],
                        f"almost repeats {inputs[first].source!r}: together they count twice",
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
        if not any(settings.get("role") == "group" for settings in self.settings.values()):
            self.remarks.setdefault("(no group)", []).append(
                "no column was found that names boreholes, families or campaigns. Without one, "
                "rows of the same origin end up on both sides of a split, and scores flatter"
            )
        order = [profile.source for profile in self.profiles] + ["(no group)"]
        remarks = tuple(
            Remark(source, text) for source in order for text in self.remarks.get(source, [])
        )
        out = tuple(p.source for p in self.profiles if p.source in self.left_out)
        return Proposal(schema, remarks, out)
