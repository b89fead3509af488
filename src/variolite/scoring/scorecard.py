"""The scorecard: every measured number with its interval, and where it came from."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from variolite.errors import DataError, RunFolderError, counted
from variolite.scoring.intervals import Interval
from variolite.text_table import text_table

FORMAT = 1

_STRICT = ConfigDict(extra="forbid", strict=True)
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float for which JSON's null stands for a value that could not be computed."""


def _one_of(*names: str) -> Any:
    return Field(pattern=f"^({'|'.join(names)})$")


_Task = Annotated[
    str, _one_of("clustering", "reconstruction", "likelihood", "generation", "health", "paired")
]
_Fit = Annotated[str, _one_of("inductive", "transductive")]
_Rule = Annotated[str, _one_of("fixed", "bic", "silhouette", "stability", "oracle")]
_Rows = Annotated[str, _one_of("all", "complete", "with gaps")]
_Clusters = Annotated[str, _one_of("kept", "refitted")]

_UNBOUNDED = (-math.inf, math.inf)
_RANGES = {
    **dict.fromkeys(("ari", "ami", "silhouette"), (-1.0, 1.0)),
    **dict.fromkeys(("v_measure", "homogeneity", "completeness", "purity"), (0.0, 1.0)),
    **dict.fromkeys(("accuracy", "macro_f1", "noise"), (0.0, 1.0)),
    **dict.fromkeys(("rmse", "mae"), (0.0, math.inf)),
    "r2": (-math.inf, 1.0),
}


@dataclass(frozen=True, config=_STRICT)
class ScoreKey:
    """What was scored; what does not apply is None.

    ``method`` is where the features came from: "vae", "raw", "pca_whitened", "autoencoder",
    "no_network", "supervised"; for a paired row "A vs B". ``split`` names the scored part, or
    the way of splitting. ``algorithm`` is "kmeans", "gmm", "hdbscan", "hmm" or a kind of
    classifier, ``fit`` says whether it saw training rows or the very rows that are scored.
    ``level`` is the label level, ``k`` the number of clusters and ``rule`` how it was chosen;
    "oracle" is the best by the labels themselves, which nobody can choose in use. ``feature`` and
    ``unit`` are those of a reconstruction; R2 of a log that is modelled in logarithms has the unit
    of the logarithm. ``rows`` are those scored: "all", or apart those in which every input was
    observed,
    "complete", and those "with gaps". ``clusters`` are those that the run keeps and
    `variolite cluster` gives, "kept", or were fitted again for the score, "refitted".
    """

    task: _Task
    method: str
    split: str
    algorithm: str | None = None
    fit: _Fit | None = None
    level: str | None = None
    k: int | None = None
    rule: _Rule | None = None
    feature: str | None = None
    unit: str | None = None
    rows: _Rows | None = None
    clusters: _Clusters | None = None

    def row(self, metric: str, interval: Interval, n_groups: int, seeds: int) -> ScoreRow:
        """Return the row of one metric; an interval never leaves the metric's own range."""
        least, most = _UNBOUNDED if self.task == "paired" else _RANGES.get(metric, _UNBOUNDED)
        low, high = interval.low, interval.high
        return ScoreRow(
            **vars(self),
            metric=metric,
            mean=interval.mean,
            low=max(low, least) if math.isfinite(low) else low,
            high=min(high, most) if math.isfinite(high) else high,
            n_groups=n_groups,
            seeds=seeds,
        )


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ScoreRow(ScoreKey):
    """One measured number under its key, with its interval over groups and seeds.

    ``low`` and ``high`` are NaN where there is none.
    """

    metric: str
    mean: Number
    low: Number
    high: Number
    n_groups: int
    seeds: int


@dataclass(frozen=True, config=_STRICT)
class Scorecard:
    """Score rows with notes in plain words (what was left out, and why).

    Examples
    --------
    >>> card = Scorecard((), ("no labels were given",))
    >>> Scorecard.from_json(card.to_json()) == card
    True
    """

    rows: tuple[ScoreRow, ...] = ()
    notes: tuple[str, ...] = ()

    def merge(self, *others: Scorecard) -> Scorecard:
        """Return one card with the rows and the distinct notes of all, in order."""
        cards = (self, *others)
        notes = dict.fromkeys(note for card in cards for note in card.notes)
        return Scorecard(tuple(row for card in cards for row in card.rows), tuple(notes))

    def select(self, **wanted: object) -> tuple[ScoreRow, ...]:
        """Rows whose entries equal those given, e.g. ``select(method="vae", metric="ari")``.

        Raises DataError if a name is not an entry of a row.
        """
        for name in wanted.keys() - {field.name for field in fields(ScoreRow)}:
            raise DataError(f"rows have no entry {name!r}", where="scorecard")
        return tuple(
            row for row in self.rows if all(getattr(row, name) == v for name, v in wanted.items())
        )

    def to_json(self) -> str:
        """Return the card as JSON text with a format number."""
        rows = [
            {name: None if value != value else value for name, value in asdict(row).items()}
            for row in self.rows
        ]
        body = {"format": FORMAT, "rows": rows, "notes": self.notes}
        return json.dumps(body, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Scorecard:
        """Rebuild a card; RunFolderError if the text is none, or one of a newer format."""
        try:
            body = json.loads(text)
        except json.JSONDecodeError as error:
            raise RunFolderError(f"is not JSON: {error}", where="scorecard") from None
        found = body.pop("format", None) if isinstance(body, dict) else None
        if found != FORMAT:
            raise RunFolderError(
                "has no format number"
                if found is None
                else f"has format {found}, this version reads {FORMAT}",
                where="scorecard",
                hint="Score the run again, or use the version of Variolite that wrote it",
            )
        try:
            return TypeAdapter(cls).validate_json(json.dumps(body))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise RunFolderError(f"{place}: {first['msg']}", where="scorecard") from None

    def write(self, path: str | Path) -> None:
        """Write the card to a file, atomically."""
        # Imported late: reading a card needs no table library.
        from variolite.records.files.writing import write_text_atomic

        write_text_atomic(Path(path), self.to_json())

    @classmethod
    def read(cls, path: str | Path) -> Scorecard:
        """Read a card from a file; RunFolderError if it is missing or no scorecard."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError("cannot be read", where=str(path)) from error
        return cls.from_json(text)


# The scorecard as a plain-text table.

_METRICS = ("ari", "ami", "accuracy", "r2", "rmse", "mae", "log_likelihood")


def format_value(mean: float, low: float, high: float) -> str:
    """Write a value with its interval, e.g. ``0.212 [0.185, 0.240]``.

    Without an interval the value stands alone; an undefined value is a dash.
    """
    if not math.isfinite(mean):
        return "-"
    digits = 3 if abs(mean) < 10 else 2 if abs(mean) < 100 else 1
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


FEW_GROUPS = 6


def caution_of(n_groups: int) -> str | None:
    """Return the caution that goes with scores over few groups, None where they are many."""
    if n_groups >= FEW_GROUPS:
        return None
    rough = f"Only {counted(n_groups, 'held-out group')}: intervals over so few are rough"
    return f"{rough}. Confirm on further splits what looks clear here."


def format_scorecard(card: Scorecard) -> str:
    """Lay out a card as text: a block per task, a line per thing scored, a column per metric.

    The main metrics are shown; a task that has none of them shows all of its own.
    """
    blocks = []
    for task in dict.fromkeys(row.task for row in card.rows):
        rows = [row for row in card.rows if row.task == task]
        names = dict.fromkeys(row.metric for row in rows)
        shown = [metric for metric in _METRICS if metric in names]
        if task == "paired":
            shown = [name for metric in shown for name in (metric, f"{metric}_p") if name in names]
        groups, seeds = max(row.n_groups for row in rows), max(row.seeds for row in rows)
        # What all rows share is said once, above them.
        if len({row.rows for row in rows}) == 1 and rows[0].rows:
            of_rows = "rows with gaps" if rows[0].rows == "with gaps" else f"{rows[0].rows} rows"
            task, rows = f"{task} of {of_rows}", [replace(row, rows=None) for row in rows]
        held_out = counted(groups, "held-out group")
        title = f"{task} ({held_out}, {counted(seeds, 'seed')}; intervals over both)"
        blocks.append(f"{title}\n{_table(rows, shown or list(names))}")
    scored = [row.n_groups for row in card.rows if row.task == "clustering"]
    if caution := caution_of(min(scored, default=FEW_GROUPS)):
        blocks.append(caution)
    if card.notes:
        blocks.append("\n".join(["notes", *(f"  {note}" for note in card.notes)]))
    return "\n\n".join(blocks)


def _table(rows: Sequence[ScoreRow], shown: Sequence[str]) -> str:
    scored: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        if row.metric in shown:
            value = format_value(row.mean, row.low, row.high)
            scored.setdefault(_names(row), {})[row.metric] = value
    return text_table(
        ("method", "algorithm", "level", "k", "rows", "feature", *shown),
        [(*names, *(values.get(m, "") for m in shown)) for names, values in scored.items()],
        indent=2,
    )


def _names(row: ScoreRow) -> tuple[str, ...]:
    k = "" if row.k is None else str(row.k)
    if row.rule not in (None, "fixed"):
        k = f"{k} by {row.rule}".strip()
    if row.clusters == "kept":
        k += ", kept"
    algorithm = row.algorithm or ""
    if row.fit == "transductive":
        algorithm += " (transductive)"
    feature = row.feature or ""
    if feature and row.unit:
        feature += f" ({row.unit})"
    return row.method, algorithm, row.level or "", k, row.rows or "", feature
