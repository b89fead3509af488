"""The scorecard: every measured number with its interval, and where it came from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from variolite.errors import DataError, RunFolderError

FORMAT = 1
_TASKS = ("clustering", "reconstruction", "likelihood", "generation", "health", "paired")
_FITS = (None, "inductive", "transductive")
_RULES = (None, "fixed", "bic", "silhouette", "stability", "oracle")


@dataclass(frozen=True)
class ScoreRow:
    """One measured number.

    Attributes
    ----------
    task
        "clustering", "reconstruction", "likelihood", "generation", "health" or "paired".
    method
        Where the features came from: "vae", "raw", "pca_whitened", "autoencoder",
        "supervised"; for a paired row "A vs B".
    algorithm
        "kmeans", "gmm", "hdbscan", "gradient_boosting" or None.
    fit
        "inductive" (fitted on training rows) or "transductive" (fitted on the
        very rows that are scored), None where it does not apply.
    split
        Name of the scored part, or of the way of splitting.
    level
        Label level, None where no labels are used.
    k
        Number of clusters, None where it does not apply.
    rule
        How k was chosen: "fixed", "bic", "silhouette", "stability", or "oracle"
        (best by the labels themselves: not attainable in use).
    metric
        Name of the quantity.
    feature, unit
        Feature and its unit, for reconstruction.
    mean, low, high
        Value with its interval over groups and seeds; NaN where there is none
        (written as null).
    n_groups, seeds
        Held-out groups and seeds behind the value.
    """

    task: str
    method: str
    algorithm: str | None
    fit: str | None
    split: str
    level: str | None
    k: int | None
    rule: str | None
    metric: str
    feature: str | None
    unit: str | None
    mean: float
    low: float
    high: float
    n_groups: int
    seeds: int

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("task", self.task, _TASKS),
            ("fit", self.fit, _FITS),
            ("rule", self.rule, _RULES),
        ):
            if value not in allowed:
                known = ", ".join(str(item) for item in allowed)
                raise DataError(f"is {value!r}, expected one of {known}", where=f"score row {name}")

    def to_dict(self) -> dict[str, Any]:
        """Return the row as a dict for JSON: numbers that are not finite become None."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> ScoreRow:
        """Rebuild a row from :meth:`to_dict`.

        Raises
        ------
        RunFolderError
            If an entry is absent, unknown or of the wrong type.
        """
        hints = get_type_hints(cls)
        names = {field.name for field in fields(cls)}
        if names != set(entry):
            odd = ", ".join(sorted(names ^ set(entry)))
            raise RunFolderError(f"a row has missing or unknown entries: {odd}", where="scorecard")
        values: dict[str, Any] = {}
        for name in names:
            value, hint = entry[name], hints[name]
            if hint is float:
                value = float("nan") if value is None else value
                value = float(value) if _is_number(value) else value
            kinds = get_args(hint) or (hint,)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise RunFolderError(f"{name} of a row is {value!r}", where="scorecard")
            values[name] = value
        return cls(**values)


@dataclass(frozen=True)
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

        Raises
        ------
        DataError
            If a name is no entry of a row.
        """
        names = [field.name for field in fields(ScoreRow)]
        for name in wanted:
            if name not in names:
                raise DataError(f"rows have no entry {name!r}", where="scorecard")
        return tuple(
            row for row in self.rows if all(getattr(row, name) == v for name, v in wanted.items())
        )

    def to_json(self) -> str:
        """Return the card as JSON text with a format number."""
        body = {
            "format": FORMAT,
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
        }
        return json.dumps(body, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Scorecard:
        """Rebuild a card from :meth:`to_json`.

        Raises
        ------
        RunFolderError
            If the text is no scorecard, or one of a newer format.
        """
        try:
            body = json.loads(text)
        except json.JSONDecodeError as error:
            raise RunFolderError(f"is not JSON: {error}", where="scorecard") from error
        if not isinstance(body, dict) or not isinstance(body.get("format"), int):
            raise RunFolderError("has no format number", where="scorecard")
        if body["format"] != FORMAT:
            raise RunFolderError(
                f"has format {body['format']}, this version reads {FORMAT}",
                where="scorecard",
                hint="Score the run again, or use the version of Variolite that wrote it",
            )
        rows, notes = body.get("rows"), body.get("notes")
        if not isinstance(rows, list) or not isinstance(notes, list):
            raise RunFolderError("lacks its rows or its notes", where="scorecard")
        if not all(isinstance(row, dict) for row in rows):
            raise RunFolderError("holds a row that is no object", where="scorecard")
        return cls(tuple(ScoreRow.from_dict(row) for row in rows), tuple(str(n) for n in notes))

    def write(self, path: str | Path) -> None:
        """Write the card to a file, atomically."""
        # Imported late: reading a card needs no table library.
        from variolite.records.writing import write_text_atomic

        write_text_atomic(Path(path), self.to_json())

    @classmethod
    def read(cls, path: str | Path) -> Scorecard:
        """Read a card from a file.

        Raises
        ------
        RunFolderError
            If the file is missing or no scorecard.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError("cannot be read", where=str(path)) from error
        return cls.from_json(text)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# The scorecard as a plain-text table.


_METRICS = ("ari", "ami", "accuracy", "r2", "rmse", "mae", "log_likelihood")


def format_value(mean: float, low: float, high: float) -> str:
    """Write a value with its interval, e.g. ``0.212 [0.185, 0.240]``.

    Without an interval the value stands alone; an undefined value is a dash.
    """
    if not math.isfinite(mean):
        return "-"
    digits = _digits(mean)
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def format_scorecard(card: Scorecard, *, metrics: Sequence[str] = _METRICS) -> str:
    """Lay out a card as text: one line per thing scored, one column per metric.

    Parameters
    ----------
    card
        The scorecard.
    metrics
        Metrics to show, in this order; those without a row are left out. A task
        that has none of them shows all of its own.

    Returns
    -------
    str
        One block per task, notes at the end; lines are not wrapped.
    """
    blocks = []
    for task in dict.fromkeys(row.task for row in card.rows):
        rows = [row for row in card.rows if row.task == task]
        names = {row.metric for row in rows}
        shown = [metric for metric in metrics if metric in names]
        if task == "paired":
            shown = [name for metric in shown for name in (metric, f"{metric}_p") if name in names]
        shown = shown or list(dict.fromkeys(row.metric for row in rows))
        lines = _lines(rows, shown)
        groups = max(row.n_groups for row in rows)
        seeds = max(row.seeds for row in rows)
        title = f"{task} ({groups} held-out groups, {seeds} seeds; intervals over both)"
        blocks.append("\n".join([title, *lines]))
    if card.notes:
        blocks.append("\n".join(["notes", *(f"  {note}" for note in card.notes)]))
    return "\n\n".join(blocks)


def _lines(rows: Sequence[ScoreRow], shown: Sequence[str]) -> list[str]:
    table: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        value = format_value(row.mean, row.low, row.high)
        table.setdefault(_what(row), {})[row.metric] = value
    heads = ("method", "algorithm", "level", "k", "feature")
    cells = [
        [*what, *(values.get(metric, "") for metric in shown)]
        for what, values in table.items()
        if any(metric in values for metric in shown)
    ]
    columns = [
        [head, *column]
        for head, column in zip((*heads, *shown), zip(*cells, strict=True), strict=True)
    ]
    kept = [column for column in columns if any(column[1:])]
    widths = [max(len(cell) for cell in column) for column in kept]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*kept, strict=True)
    ]


def _what(row: ScoreRow) -> tuple[str, ...]:
    k = "" if row.k is None else str(row.k)
    chosen = row.rule if row.rule not in (None, "fixed") else None
    unit = f" ({row.unit})" if row.unit and row.feature else ""
    algorithm = row.algorithm or ""
    if row.fit == "transductive":
        algorithm += " (transductive)"
    return (
        row.method,
        algorithm,
        row.level or "",
        f"{k} by {chosen}".strip() if chosen else k,
        f"{row.feature or ''}{unit}",
    )


def _digits(mean: float) -> int:
    size = abs(mean)
    return 3 if size < 10 else 2 if size < 100 else 1
