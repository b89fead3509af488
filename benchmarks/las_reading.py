"""Read the example files of lasio and welly: `read_table` against `lasio.read`, value by value.

Values are alike where both are the same number (missing where the other is), or the same text.
Where lasio makes text of a column because a word in it means missing, its numbers are compared
and the word has to be missing. Where the two differ, the rows are split a third time, at commas.

    python -m benchmarks.las_reading FOLDER [FOLDER ...]

The folders are tests/examples of lasio and a checkout of welly; files that end in .las count.
"""

from __future__ import annotations

import argparse
import csv
import logging
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import lasio
import numpy as np
from benchmarks.pages import RESULTS, provenance, table, write_page

from variolite.errors import DataError, printable
from variolite.records import read_table
from variolite.records.files.delimited import MISSING_WORDS

KINDS = {
    "alike": "both read the same values",
    "ours": "only Variolite reads rows",
    "lasio": "only lasio reads rows",
    "neither": "neither does",
    "no rows": "lasio returns no rows without an error, Variolite refuses",
    "differ": "the values differ",
}


def columns_of_lasio(path: Path) -> tuple[list[Any] | None, str]:
    """Return the arrays of the curves, none where there are no rows, and the error."""
    try:
        arrays = [np.asarray(curve.data) for curve in lasio.read(path).curves]
    except Exception as error:
        return None, f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    return [array for array in arrays if array.size], ""


def columns_of_variolite(path: Path) -> tuple[list[Any] | None, str]:
    """Return the columns without the name of the well from the header, and the error."""
    try:
        frame = read_table(path)
    except DataError as error:
        return None, f"{error.what}. {error.hint or ''}"
    return [series.to_list() for series in frame.iter_columns() if series.name != "WELL"], ""


def alike(theirs: Any, ours: list[Any]) -> bool:
    """Return whether all values of a column are the same."""

    def same(their: Any, our: Any) -> bool:
        missing = our is None or our != our
        if isinstance(their, str):
            word = their.strip()
            if missing or not isinstance(our, float):
                return missing if word.casefold() in MISSING_WORDS else word == our
            their = float(word)
        return bool(np.isnan(their)) if missing else bool(np.isclose(their, our, 1e-12, 0.0))

    return len(theirs) == len(ours) and all(map(same, theirs.tolist(), ours))


def split_at_commas(path: Path, ours: list[Any]) -> bool:
    """Return whether the rows after the last ~A, split at commas, are our values."""
    text = re.split(r"(?m)^~A.*$", path.read_text(encoding="latin-1"))[-1]
    rows = [row for row in csv.reader(text.splitlines()) if row and row[0].strip()[:1] != "#"]
    null = re.search(r"(?m)^\s*NULL\s*\.\s*(\S+)", path.read_text(encoding="latin-1"))
    values = np.array(rows, dtype=float)
    values[values == float(null[1] if null else "nan")] = np.nan
    return bool(np.array_equal(values, np.array(ours, dtype=float).T, equal_nan=True))


def compare(path: Path) -> tuple[str, str]:
    """Return the kind of agreement and what is worth knowing."""
    theirs, their_error = columns_of_lasio(path)
    ours, our_error = columns_of_variolite(path)
    if not theirs:
        kind = "neither" if theirs is None else "no rows"
        return ("ours", their_error or "no rows") if ours else (kind, our_error)
    if ours is None:
        return "lasio", our_error
    if len(theirs) == len(ours) and all(map(alike, theirs, ours)):
        return "alike", ""
    return "differ", f"ours are the file's, split at commas: {split_at_commas(path, ours)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folders", nargs="+", type=Path)
    folders = parser.parse_args().folders
    logging.getLogger("lasio").propagate = False
    warnings.simplefilter("ignore")
    files = [
        (path.relative_to(folder).as_posix(), path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() == ".las"
    ]
    compared = ((name, *compare(path)) for name, path in files)
    results = [(name, kind, printable(note)) for name, kind, note in compared]
    counts = Counter(kind for _, kind, _ in results)
    lines = [
        f"{len(files)} files: tests/examples of lasio, and all LAS files of welly.",
        "",
        *table(["what", "files"], [[text, str(counts[kind])] for kind, text in KINDS.items()]),
    ]
    for kind, text in KINDS.items():
        if kind != "alike" and counts[kind]:
            lines += ["", f"## {text[0].upper()}{text[1:]}", ""]
            lines += [f"- `{name}`: {note}" for name, found, note in results if found == kind]
    lines += ["", "Names of columns are not compared: Variolite takes some from the line ~A."]
    content = {
        "counts": {kind: counts[kind] for kind in KINDS},
        "files": {name: [kind, note] for name, kind, note in results},
    }
    made = provenance("python -m benchmarks.las_reading FOLDER ...", ("lasio", "numpy", "polars"))
    title = "Reading the example files of lasio and welly"
    write_page(RESULTS / "las_reading", title, lines, content, made)


if __name__ == "__main__":
    main()
