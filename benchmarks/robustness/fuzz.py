"""Seeded damage to every kind of file that is read: one clear line, or the right result."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from benchmarks.robustness.crashes import Attempt
from benchmarks.robustness.programs import Program, call

from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures
from variolite.records import read_table, write_table

SPLICES = (
    b"nan", b"-999.25", b"1e400", b"\x00", b"\xff\xfe", b'"', b'"""', b",", b";", b"\t", b"\r",
    b"\n\n", b"'", b"\x1a", b"=cmd()", b"-", b"9" * 400, b"[" * 200, b"&a *a", b"!!python/none",
    "é中".encode(), b"\x1b[31m", b"%s%n", b"../", b"null", b"true", b"~A", b"loop_", b"data_",
)  # fmt: skip
"""What people's files hold where nobody expects it."""


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Return content with one to four pieces flipped, cut, doubled, moved or spliced in."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        at = int(random.integers(0, len(data) + 1))
        length = int(min(2 ** random.integers(0, 10), len(data) - at))
        match int(random.integers(0, 7)):
            case 0 if data:
                data[at % len(data)] ^= 1 << int(random.integers(0, 8))
            case 1:
                del data[at:]
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at:at] = random.choice(np.array(SPLICES, dtype=object))
            case 5:
                lines = bytes(data).splitlines(keepends=True)
                random.shuffle(lines)  # type: ignore[arg-type]
                data = bytearray(b"".join(lines))
            case _:
                data[at : at + length] = random.bytes(length)
    return bytes(data)


@dataclass(frozen=True)
class Reader:
    """A command that reads one file, ``{}`` in its arguments, and healthy examples of it."""

    name: str
    arguments: tuple[str, ...]
    examples: tuple[Path, ...]


LAS = """~Version
VERS. 2.0 :
WRAP. NO :
~Well
STRT.M 1.0 :
STOP.M 3.0 :
STEP.M 0.5 :
NULL. -999.25 :
WELL. A-1 :
~Curve
DEPT.M : depth
GR.GAPI : gamma ray
RHOB.G/C3 : density
~Ascii
1.0 80.1 2.31
1.5 83.0 -999.25
2.0 79.5 2.40
2.5 91.2 2.38
3.0 60.7 2.45
"""


POSCAR = """NaCl
1.0
0.0 2.8 2.8
2.8 0.0 2.8
2.8 2.8 0.0
Na Cl
1 1
Direct
0.0 0.0 0.0
0.5 0.5 0.5
"""


def make_examples(folder: Path, binned: Path) -> None:
    """Write one small healthy file of every kind that is read."""
    for name in ("tables", "structures"):
        (folder / name).mkdir(parents=True)
    table = read_table(binned).head(40)
    for ending in ("csv", "csv.gz", "tsv", "parquet", "feather"):
        write_table(table, folder / "tables" / f"table.{ending}")
    (folder / "well.las").write_text(LAS)
    (folder / "map.yaml").write_text('red: red\ngreen: "green"\nblue: -\n')
    (folder / "levels.yaml").write_text("clay: [Clay, Mud]\nsand: [Sand]\n")
    crystals, place = textbook_crystals().take([0, 3, 7, 20]), folder / "structures"
    for name in ("a.extxyz", "a.csv", "a.parquet", "a.crystals"):
        write_structures(crystals, place / name)
    write_structures(crystals, place / "cifs")
    (place / "POSCAR").write_text(POSCAR)


def readers(folder: Path, reports: Path) -> list[Reader]:
    """Every command that reads a file; ``reports`` are inputs that failed once, if at hand."""
    inputs, examples = folder / "inputs", folder / "examples"
    tables, crystals = str(folder / "fit_tables/run"), str(folder / "fit_crystals/run")
    binned = str(inputs / "binned.parquet")
    maker = get_context("spawn").Process(target=make_examples, args=(examples, Path(binned)))
    maker.start()
    maker.join()

    def found(place: Path, *patterns: str) -> tuple[Path, ...]:
        return tuple(path for pattern in patterns for path in sorted(place.glob(pattern)))

    table = found(examples / "tables", "*")
    structure = found(examples / "structures", "*.*", "P*", "cifs/*")
    logs = (examples / "well.las", *found(reports / "boreholes", "*.las"))
    raw = found(inputs / "raw", "*.csv")
    recipe = tuple(folder / name / "run/recipe.yaml" for name in ("fit_tables", "fit_crystals"))
    mapped = ("encode", tables, "--data", binned, "--out", "z.csv", "--map", "{}")
    encode = ("--data", "{}", "--out", "z.csv")
    pack = ("crystals", "pack", "{}", "--out", "s.crystals")
    reported = found(reports / "crystals", "*cif", "*.json")
    return [
        Reader("schema, logs", ("schema", "{}"), logs),
        Reader("schema, tables", ("schema", "{}"),
               (*table, *found(reports / "boreholes", "*.csv"))),
        Reader("encode, tables", ("encode", tables, *encode), table),
        Reader("bin", ("corelogs", "bin", "{}", "--out", "b.csv"), raw),
        Reader("pack", pack, (*structure, *reported)),
        Reader("encode, structures", ("encode", crystals, *encode), structure),
        Reader("recipe", ("recipes", "show", "./{}"), recipe),
        Reader("import of a recipe", ("recipes", "import", "{}", "--out", "o.yaml"), recipe),
        Reader("map", mapped, (examples / "map.yaml",)),
        Reader("levels", ("corelogs", "bin", *map(str, raw), "--levels", "{}", "--out", "b.csv"),
               (examples / "levels.yaml",)),
    ]  # fmt: skip


def try_reader(
    reader: Reader, work: Path, times: int, random: np.random.Generator
) -> Iterator[Attempt]:
    """Give ``times`` damaged examples to a command: it reads them, or says why not in one line."""
    program = Program(reader.name, (), ())
    for turn in range(times):
        example = reader.examples[turn % len(reader.examples)]
        content = example.read_bytes()
        zipped = example.suffix == ".gz" and bool(random.integers(0, 2))
        content = damaged(gzip.decompress(content) if zipped else content, random)
        file = program.place(work) / example.name
        file.write_bytes(gzip.compress(content) if zipped else content)
        ended = call([part.replace("{}", example.name) for part in reader.arguments], work)
        fault = ended.fault
        if not fault and ended.status not in (0, 2, 3):
            fault = f"ends with {ended.status}"
        elif not fault and ended.status == 2 and not ended.last.startswith("variolite: "):
            fault = f"no clear line: {ended.last[:100]}"
        elif not fault and any(name.startswith(".") for name in program.strangers(work)):
            fault = "leaves files behind"
        yield Attempt(f"{example.name}, case {turn}", fault)
