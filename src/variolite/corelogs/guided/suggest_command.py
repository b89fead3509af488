"""What ``variolite corelogs suggest-well`` reads and prints."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from variolite.arguments import parse_mapping
from variolite.corelogs.guided.picks import PICKED, read_picks, with_picks
from variolite.corelogs.guided.run import labels_of, load_classifier, wells_of
from variolite.corelogs.guided.suggest import Suggestion, distances, suggest
from variolite.errors import DataError
from variolite.fields import Paths
from variolite.progress import Progress
from variolite.training import RunFolder

_SHOWN = 6  # names of wells in one line


@dataclass(frozen=True)
class Suggestions:
    """Wells to label next, with what is known of the wells labelled so far.

    ``before`` and each suggestion's distance are mean distances of a well to the nearest labelled
    one; ``accuracy`` is what to expect by number of labelled wells, where that can be estimated.
    """

    labelled: tuple[str, ...]
    before: float
    wells: tuple[Suggestion, ...]
    accuracy: dict[int, float]

    def lines(self) -> list[str]:
        """Lay out as text, a line for each well."""
        lines = [f"{len(self.labelled)} wells have labels"]
        if self.labelled:
            lines[0] += f"; mean distance of a well to the nearest of them {self.before:.2f}"
        for place, found in enumerate(self.wells, start=1):
            others = [*found.stands_for[:_SHOWN]]
            more = len(found.stands_for) - len(others)
            stands = f"stands for {', '.join(others)}" if others else "like no other"
            stands += f" and {more} more" if more else ""
            lines.append(
                f"{place}. {found.well}: {stands}; mean distance then {found.distance:.2f}"
            )
        count = len(self.labelled)
        lines += [
            f"accuracy to expect in other wells with {n} labelled: {value:.0%}"
            + (" (now, extrapolated from fewer)" if n == count else " (extrapolated)")
            for n, value in self.accuracy.items()
        ]
        return lines

    def to_json(self) -> str:
        content = asdict(self) | {"wells": [found._asdict() for found in self.wells]}
        content["before"] = None if math.isnan(self.before) else self.before
        return json.dumps(content, indent=1)


def suggestions(
    run: Path,
    data: Paths,
    count: int,
    labels: Path | None,
    mapping: Sequence[str],
    progress: Progress,
) -> Suggestions:
    """Suggest ``count`` wells of a table for a run on tables of wells."""
    folder = RunFolder(run)
    folder.require_finished()
    if folder.field.kind != "tabular":
        what = f"this is a run on {folder.field.subject}"
        raise DataError(what, where=str(run), hint="give a run on tables of wells")
    model = folder.model()
    bound = parse_mapping(mapping, model.schema.schema.columns)
    schema = folder.recipe().table
    picks = None if labels is None else read_picks(labels, schema)
    table = model.table(data, bound)
    if picks is not None:
        table = with_picks(table, schema, bound, picks, progress.note)
    records = model.records(table, bound)
    if records.group is None:
        what = "the table has no column of wells"
        raise DataError(what, where="--data", hint="bind it with --map hole=COLUMN")
    marked = labels_of(records) != ""
    if picks is not None:
        marked = (table.frame[PICKED] != "").to_numpy()[records.row]
    known = set(np.unique(records.group[marked]).tolist())
    with progress.stage("comparing wells"):
        names, distance = distances(wells_of(model, records, None))
        before, found = suggest(names.tolist(), distance, count, known)
    accuracy: dict[int, float] = {}
    classifier = load_classifier(folder)
    if classifier is not None and known:
        sizes = (len(known), len(known) + count)
        expected = {size: classifier.left_out.expected(size) for size in sizes}
        accuracy = {size: value for size, value in expected.items() if not math.isnan(value)}
    return Suggestions(tuple(sorted(known)), before, tuple(found), accuracy)
