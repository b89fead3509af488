"""Well logs in LAS format, 1.2 to 3.0: lasio reads the header, the data are read here.

lasio pads rows that do not fit, keeps the last of several data sections and names no line. Here
every value stands under the curve that is declared for it, or the file is refused with the line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from variolite.errors import DataError
from variolite.records.files.delimited import Note, Units, distinct, noting, understood
from variolite.records.files.memory import require_memory

_NAMES = ("well", "uwi", "api")  # Entries that name the well, the best one first.
_WELL_COLUMNS = ("well", "well_name", "wellname", "well name")
_FEW = 0.05  # Share of words among numbers below which they are errors, not a column of text.


class _Section(NamedTuple):
    title: str
    line: int  # That of the title; what follows begins in the next.
    body: str

    @property
    def name(self) -> str:
        return re.split(r"[\s|]", self.title.strip().casefold())[0]

    @property
    def kind(self) -> str:
        """What a title of LAS 3 says: definition, data or parameter; else its first letter."""
        words = self.name.replace("[", "_").split("_")
        kinds = [word for word in words[1:] if word in ("definition", "data", "parameter")]
        first = next(self.rows(), None) if not self.title[:1].isalpha() else None
        if first and _numeric(first[1]):
            return "data"  # Such as "~  DEPTH  GR".
        letter = self.name[:1]
        return kinds[0] if kinds else {"a": "data", "c": "definition"}.get(letter, letter)

    @property
    def of_logs(self) -> bool:
        """Whether it is about logs, not cores or drilling as in LAS 3."""
        return "_" not in self.name or self.name.startswith("log_")

    def rows(self) -> Iterator[tuple[int, str]]:
        """Give every line with its number, without blank lines and comments."""
        lines = enumerate(map(str.strip, io.StringIO(self.body)), start=self.line + 1)
        return ((number, line) for number, line in lines if line and line[0] != "#")


class LasHeader(NamedTuple):
    """Entries of a header (name, unit, value, descr), those of curves by column; and ~Other."""

    well: list[dict[str, str]]
    parameters: list[dict[str, str]]
    curves: dict[str, dict[str, str]]
    other: str


CODE = re.compile(r"code (\d+) of (\S+)")
"""What describes an entry of ~Parameter that holds the text of a code."""


class _File(NamedTuple):
    data: list[_Section]
    curves: Units  # The unit of each, "" where none is stated.
    wrapped: bool
    delimiter: str | None
    null: str
    names: dict[str, str]  # Of the well, by the entry that holds it.
    texts: dict[str, dict[float, str]]  # Of codes, by curve.


def read_las(path: Path, *_: object) -> tuple[pl.DataFrame, Units]:
    """Read the curves of a LAS file, one column each, and their units by column.

    Values equal to the header's NULL become NaN, as do the usual words for a missing one. When no
    curve names the well, the column ``WELL`` repeats the name in the header, so that files can
    be stacked. DataWarning says what was guessed or left out.
    """
    note = noting(path)
    file = _open(path, note)
    parts = [_table(section, file, note) for section in file.data]
    if len({tuple(part.columns) for part in parts}) > 1:
        raise _several_tables(file.data)
    for section, above, below in zip(file.data[1:], parts, parts[1:], strict=False):
        _require_continued(section, above.to_series(0), below.to_series(0))
    if len(parts) > 1:
        note(f"the {len(parts)} data sections (lines {_lines(file.data)}) are read as one")
    frame = pl.concat(parts, how="vertical_relaxed")
    frame = frame.with_columns(_named(frame[name], file.texts) for name in frame.columns)
    if file.names and not any(column.casefold() in _WELL_COLUMNS for column in frame.columns):
        entry, name = next(iter(file.names.items()))
        if entry != "well":
            note(f"the header names no well, so its {entry.upper()} {name} is taken as the name")
        frame = frame.insert_column(0, pl.Series("WELL", [name] * frame.height))
    return frame, {name: unit for name, unit in file.curves.items() if unit}


def read_las_header(path: Path) -> LasHeader:
    """Return what the header of a LAS file says, in the order of LAS 2.0."""
    sections = list(_sections(_decoded(path)))
    of = {kind: [s for s in sections if s.kind == kind] for kind in ("v", "w", "p", "o")}
    version = [item["value"] for s in of["v"] for item in _items(s) if item["name"] == "VERS"]
    well = [item for section in of["w"][:1] for item in _items(section)]
    if version and _number(version[0]) < 2:
        # Descriptions came first, but for the numbers.
        for item in well:
            if item["name"].upper() not in ("STRT", "STOP", "STEP", "NULL"):
                item["value"], item["descr"] = item["descr"], item["value"]
    data = next((s for s in sections if s.kind == "data" and s.of_logs), None)
    definition = _definition_of(data, sections) if data else None
    curves = list(_items(definition, "Curves")) if definition else []
    names = [item["name"].removesuffix(".") or "UNKNOWN" for item in curves]
    by_column = dict(zip(distinct(names, lambda _: None), curves, strict=True))
    parameters = [item for section in of["p"] for item in _items(section)]
    other = "\n".join(section.body.strip("\n") for section in of["o"])
    return LasHeader(well, parameters, by_column, other)


# The header.


def _decoded(path: Path) -> str:
    """Return the text with line feeds, without what old systems put at the end of a file."""
    # Measured: rows of numbers take 7 times the bytes of their text.
    require_memory(7 * path.stat().st_size, "reading it")
    data = path.read_bytes()
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in data[:4]:
        # Without a mark, the first section tells: two bytes for each letter, the low one first?
        encoding = "utf-16-be" if data.find(b"~") % 2 else "utf-16-le"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return re.sub(r"\r+\n|\r", "\n", text).replace("\0", "").replace("\x1a", "")


def _sections(text: str) -> Iterator[_Section]:
    marks = list(re.finditer(r"^[ \t]*~(.*)$", text, re.MULTILINE))
    line, last = 1, 0
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        line, last = line + text.count("\n", last, mark.start()), mark.start()
        body = text[mark.end() + 1 : following and following.start()]
        head, _, values = mark[1].partition(" ")
        if head[:1] in "Aa" and _numeric(values.strip()):
            # The first row stands in the line of the title.
            yield _Section(head, line - 1, f"{values}\n{body}")
        else:
            yield _Section(mark[1], line, body)


def _lines(sections: Sequence[_Section]) -> str:
    return ", ".join(str(section.line) for section in sections)


def _several_tables(data: Sequence[_Section]) -> DataError:
    what = f"holds {len(data)} tables of different curves (lines {_lines(data)})"
    return DataError(what, hint="Keep one in a file")


def _open(path: Path, note: Note) -> _File:
    """Find the data sections, and read the header that goes with them."""
    sections = list(_sections(_decoded(path)))
    if not sections:
        what = "is not a LAS file: no section starts with '~'"
        raise DataError(what, hint="Check the file ending")
    versions = [section for section in sections if section.kind == "v"]
    if len(versions) > 1:
        what = f"holds {len(versions)} files: another begins in line {versions[1].line}"
        raise DataError(what, hint="Split it there")
    data = [section for section in sections if section.kind == "data"]
    filled = [section for section in data if next(section.rows(), None)]
    logs = [section for section in filled if section.of_logs]
    if filled and not logs:
        logs = filled
        note(f"has no section ~Log_Data; ~{logs[0].title.strip()} (line {logs[0].line}) is read")
    if not logs:
        raise _without_data(sections, data)
    declared = [_definition_of(section, sections) for section in logs]
    if len({section and section.line for section in declared}) > 1:
        raise _several_tables(logs)
    header = [section for section in sections if section.kind == "w"][:1] + versions
    items = {item["name"].casefold(): item for section in header for item in _items(section)}
    texts = {key: item["value"] for key, item in items.items()}
    if _number(texts.get("vers", "")) < 2:
        # Descriptions came first.
        texts |= {key: items[key]["descr"] for key in _NAMES if key in items}
    curves = _curves(declared[0], note) if declared[0] else {}
    index = next(iter(curves), "")
    if curves and not curves[index]:
        units = [items[key]["unit"] for key in ("strt", "stop", "step") if key in items]
        curves[index] = next(filter(None, units), "")
    return _File(
        data=logs,
        curves=curves,
        wrapped=texts.get("wrap", "").upper() == "YES",
        delimiter={"COMMA": ",", "TAB": "\t"}.get(texts.get("dlm", "").upper()),
        null=texts.get("null", ""),
        names={key: texts[key] for key in _NAMES if texts.get(key)},
        texts=_codes(section for section in sections if section.kind == "p"),
    )


def _codes(parameters: Iterable[_Section]) -> dict[str, dict[float, str]]:
    """Find the texts that entries of ~Parameter give to the codes of curves."""
    texts: dict[str, dict[float, str]] = {}
    for section in parameters:
        for item in _items(section):
            if found := CODE.fullmatch(item["descr"]):
                texts.setdefault(found[2], {})[float(found[1])] = item["value"]
    return texts


def _without_data(sections: Sequence[_Section], empty: Sequence[_Section]) -> DataError:
    rows = [row for section in sections for row in section.rows() if _numeric(row[1])]
    if empty:
        what = f"the section ~{empty[0].title.strip()} in line {empty[0].line} holds no rows"
    elif rows:
        what = f"no section ~A begins the data, which seem to start in line {rows[0][0]}"
        return DataError(what, hint="Put a line '~A' above it")
    else:
        what = "holds no section ~A with data"
    return DataError(what, hint="Export the logs again")


def _numeric(line: str) -> bool:
    words = re.split(r"[\s,;]+", line)
    return len(words) > 1 and all(re.fullmatch(r"[-+.\d][-+.\deE]*", word) for word in words)


def _definition_of(data: _Section, sections: Sequence[_Section]) -> _Section | None:
    """Find the section that declares the curves: the one named, or else the last one before."""
    known = [section for section in sections if section.kind == "definition"]
    wanted = data.title.partition("|")[2].strip().casefold()
    wanted = wanted or re.sub(r"\[.*", "", data.name).replace("_data", "_definition")
    named = [section for section in known if section.name == wanted]
    before = [section for section in known if section.of_logs and section.line < data.line]
    return next(iter(named or before[::-1]), None)


def _items(section: _Section, name: str = "") -> Iterator[dict[str, str]]:
    """Give name, unit, value and description of every line that has them."""
    from lasio.reader import read_header_line

    for _, line in section.rows():
        try:
            item = read_header_line(line, section_name=name)
        except AttributeError:
            continue  # What lasio raises on any other line.
        unit = re.sub(r"^(?:\[(.*)\]|\((.*)\))$", r"\1\2", item["unit"])
        if unit == "0.1" and item["value"].upper().startswith("IN"):
            unit = "0.1in"
        yield item | {"unit": "" if unit in "_-." else unit}


def _curves(section: _Section, note: Note) -> Units:
    items = list(_items(section, "Curves"))
    # "DEPT..1IN" is in tenths of an inch.
    units = ["." * item["name"].endswith(".") + item["unit"] for item in items]
    names = distinct([item["name"].removesuffix(".") or "UNKNOWN" for item in items], note)
    return dict(zip(names, units, strict=True))


# The data.


def _table(section: _Section, file: _File, note: Note) -> pl.DataFrame:
    lines = list[int]()
    try:
        if file.wrapped or not file.curves:
            raise ValueError
        # Quick, where all rows are plain numbers.
        body = io.StringIO(section.body)
        columns: list[Any] = list(np.loadtxt(body, ndmin=2, delimiter=file.delimiter).T)
    except ValueError:
        lines, rows = _fields(section, file, note)
        columns = list(zip(*rows, strict=True))
    names = list(file.curves)
    if len(columns) != len(names):
        names = _matched(section, names, len(columns), len(columns[0]), note)
    columns += [["nan"] * len(columns[0])] * (len(names) - len(columns))
    errors: list[str] = []
    table = pl.DataFrame(
        _without_null(_series(name, values, lines, errors), file.null, index=i == 0)
        for i, (name, values) in enumerate(zip(names, columns, strict=True))
    )
    if errors:
        more = f" and {len(errors) - 6} others" if len(errors) > 6 else ""
        note(f"not numbers, so missing: {', '.join(errors[:6])}{more}")
    return table


def _fields(section: _Section, file: _File, note: Note) -> tuple[list[int], list[list[str]]]:
    """Split every row; returns the number of its (last) line and its fields."""
    declared = len(file.curves)
    split = [(n, line, _split(line, declared, file.delimiter)) for n, line in section.rows()]
    widths = {len(fields) for _, _, fields in split}
    # Files may be wrapped although their header denies it.
    wrapped = file.wrapped or (len(widths) > 1 and max(widths) < declared)
    width = declared if wrapped or len(widths) > 1 else widths.pop()
    lines, rows, row = list[int](), list[list[str]](), list[str]()
    for number, line, fields in split:
        if len(fields) != width and not wrapped:
            separated = re.sub(r"(\d)-(?=[\d.])", r"\1 -", line)
            # Of 7.020101130.188 it is unknown where one ends.
            lost = re.sub(r"-?\d*(?:\.\d+){2,}", lambda m: " ? " * m[0].count("."), separated)
            fields = _split(lost, declared, file.delimiter)
            if len(fields) == width and lost != separated:
                note(f"values in line {number} run into one another and are missing")
        row = [*row, *fields]
        short = wrapped and len(row) < width and number != split[-1][0]
        if len(row) != width and not short:
            what = f"line {number} holds {len(row)} values, and {width} curves are declared"
            raise DataError(what, hint="Complete that line, or take it out")
        if not short:
            lines.append(number)
            rows.append(row)
            row = []
    return lines, rows


def _split(line: str, declared: int, delimiter: str | None) -> list[str]:
    """Split at the delimiter declared, else at blanks, else at semicolons or commas.

    A comma within a field that is delimited by blanks is a decimal comma.
    """
    first = _separated(line, delimiter or " ")
    if len(first) == declared and not ("," in line or ";" in line):
        return first
    for mark in (*(delimiter or ""), " ", ";", ","):
        fields = _separated(line, mark)
        if len(fields) == declared and not (mark == " " and re.search(r"[,;](\s|$)", line)):
            return fields
    for fields in (_separated(line, " ", quote="'"), re.split(r"[,;\s]+", line)):
        if len(fields) == declared:
            return fields
    return first


def _separated(line: str, delimiter: str, quote: str = '"') -> list[str]:
    if delimiter == " ":
        line = line.replace("\t", " ")
        if quote not in line:
            return line.split()
    reader = csv.reader([line], delimiter=delimiter, quotechar=quote, skipinitialspace=True)
    return [field.strip() for field in next(reader, [])]


def _matched(
    section: _Section, curves: Sequence[str], width: int, height: int, note: Note
) -> list[str]:
    """Name the columns where every row holds more or fewer values than curves are declared."""
    words = section.title.split()[1 if section.title[:1].isalpha() else 0 :]
    what = f"{len(curves)} curves are declared, but every row holds {width} values"
    if len(words) == len({*words}) == width:
        others = {name.casefold(): name for name in curves}
        named = [others.pop(word.casefold(), word) for word in words]
        note(f"{what}; they are named as in line {section.line}: {', '.join(words)}")
        return [*named, *others.values()] if width < len(curves) else named
    if width < len(curves) and height > 1:
        note(f"{what}; without values are {', '.join(curves[width:])}")
        return [*curves]
    hint = "Correct its section ~Curve, or name every column in the line ~A"
    number = next(section.rows())[0]
    what = f"{what} (from line {number}), so which is which is unknown"
    raise DataError(what, hint=hint)


def _require_continued(section: _Section, above: pl.Series, below: pl.Series) -> None:
    """Refuse two passes over the same depths, of which each has half of the rows."""
    if not (above.dtype.is_numeric() and below.dtype.is_numeric()):
        return
    first, last, start = above[0], above[-1], below[0]
    if start <= last if last >= first else start >= last:
        what = (
            f"the data section in line {section.line} starts at {start:g} again, and the one "
            f"above ends at {last:g}"
        )
        raise DataError(what, hint="These are two passes: keep one, or make two files of them")


def _number(word: str) -> float:
    try:
        return float(word.replace(",", "."))
    except ValueError:
        return np.nan


def _series(name: str, values: Any, lines: Sequence[int], errors: list[str]) -> pl.Series:
    """Make a column: of numbers, NaN where missing, or else of text, null where missing."""
    if isinstance(values, np.ndarray):
        return pl.Series(name, values)
    # A decimal comma, and the exponent of Fortran.
    words = pl.Series(name, values).str.replace(r"^([-+]?\d*),(\d+)$", "${1}.$2")
    words = understood(words.str.replace(r"^([-+]?[\d.]+)[dD]([-+]?\d+)$", "${1}e$2"), " ")
    numbers = words.cast(pl.Float64, strict=False)
    wrong = (numbers.is_null() & words.is_not_null()).arg_true()
    if len(wrong) > _FEW * len(words.drop_nulls()):
        return words.replace("", None)
    errors += [f"{words[i]!r:.40} in {name}, line {lines[i]}" for i in wrong]
    return numbers.fill_null(np.nan)


def _named(series: pl.Series, texts: Mapping[str, Mapping[float, str]]) -> pl.Series:
    """Return the text of a curve of codes; any other curve, or one with other codes, as it is."""
    own = texts.get(series.name)
    if own is None or not series.dtype.is_numeric():
        return series
    codes = series.fill_nan(None)
    if not (codes.is_null() | codes.is_in(list(own))).all():
        return series
    return codes.replace_strict(own, default=None, return_dtype=pl.String)


def _without_null(series: pl.Series, null: str, *, index: bool) -> pl.Series:
    mark = _number(null)
    if series.dtype == pl.String:
        return series.set(series.is_in([null, f"{mark:g}"]), None)
    values = series.to_numpy()
    # Programs write NULL with the decimals of the column: -999.3 for -999.25.
    margin = 1e-4 * abs(mark) if abs(mark) >= 999 else 0.0
    lacks = np.abs(values - mark) <= margin
    others = values[~lacks]
    # A well may well be 999.25 m deep.
    if index and others.size and others.min() <= mark <= others.max():
        return series
    return pl.Series(series.name, np.where(lacks, np.nan, values))
