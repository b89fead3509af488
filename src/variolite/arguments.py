"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from variolite.errors import DataError, nearest
from variolite.fields import Paths
from variolite.shipped import copy_shipped, is_shipped, shipped_run


class WithDefault(typer.core.TyperGroup):
    """A group of commands of which the first is meant where none is named."""

    @property
    def default(self) -> str:
        return next(iter(self.commands))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, "--help"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def find_run(text: str) -> Path:
    """Return a run folder, or that of a model that comes with the package."""
    path = Path(text)
    if path.exists() or "/" in text or "\\" in text:
        return path
    return shipped_run(text) or path


def keep_inputs(option: str, out: Path | None, *inputs: Paths | None) -> None:
    """Refuse to write a result over a file that it is made from.

    Raises `DataError` if ``out`` is one of ``inputs``, by whatever path or link.
    """
    for given in chain.from_iterable(i if isinstance(i, list) else [i] for i in inputs):
        try:
            same = out is not None and given is not None and out.samefile(given)
        except OSError:
            # One of them is not there, or cannot be: that is reported where it matters.
            continue
        if same:
            raise DataError(
                "this is what is read: the result would replace it",
                where=f"{option} {out}",
                hint="Give another name",
            )


def keep_out_of_folders(option: str, out: Path, inputs: Paths) -> None:
    """Refuse to write a table into a folder that is read, where it would be data the next time.

    Raises `DataError` if ``out`` lies in one of ``inputs``.
    """
    for given in inputs if isinstance(inputs, list) else [inputs]:
        if given.is_dir() and out.resolve().is_relative_to(given.resolve()):
            raise DataError(
                f"this lies in {given}, which is read: the next time the result would be data too",
                where=f"{option} {out}",
                hint="Write it elsewhere",
            )


def one_or_many(paths: list[Path] | None) -> Any:
    """Return the only one of some paths, several as they are, and None for none."""
    return paths if paths and len(paths) > 1 else next(iter(paths or ()), None)


Run = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        parser=find_run,
        help="Run folder that `variolite fit` wrote, or the name of a model that comes with the "
        "package: perov_5, mp_20.",
    ),
]
Data = Annotated[
    list[Path],
    typer.Option(
        "--data",
        metavar="PATH",
        help="Table: CSV, Excel, Parquet, Feather, LAS, DLIS. Or structures: a .crystals store, "
        "a table with a column cif or a file. Or a folder of such. May be repeated.",
    ),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Table to write: CSV, Parquet or Feather.")
]
Mapping = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="MEANING=COLUMN",
        help='Bind a meaning to a column of yours (gamma_ray="Gamma Ray"); MEANING=- leaves it '
        "out. Or a YAML file of such pairs. May be repeated.",
    ),
]
Rows = Annotated[
    str | None,
    typer.Option(
        "--rows",
        metavar="CONDITION",
        help='Use the rows of a table for which it holds, as in "BADHOLE == 0 and CALI < 12"; that '
        'of the recipe by default, "" for all rows.',
    ),
]
Null = Annotated[
    list[str] | None,
    typer.Option(
        "--null",
        metavar="TEXT",
        help="Another spelling of a missing value in a table. May be repeated.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key: training.epochs=50. May be repeated.",
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, max=2**31 - 1, help="The same seed (0) gives the same samples."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Structures: refuse the data where one is rejected, guessed or doubtful."
    ),
]
Primitive = Annotated[
    bool, typer.Option("--primitive", help="Structures: reduce every cell to its primitive cell.")
]
AcceptRange = Annotated[
    bool,
    typer.Option(
        "--accept-range",
        help="Take logs as they are that seem to be in another unit than those of training.",
    ),
]


def parse_mapping(pairs: Iterable[str] | None, meanings: Iterable[str] = ()) -> dict[str, str]:
    """Read ``MEANING=COLUMN`` pairs and YAML files of them.

    Raises `DataError` if a pair is not of that form, a file cannot be read or a meaning is unknown.
    """
    mapping: dict[str, str] = {}
    for pair in pairs or ():
        if "=" in pair:
            meaning, _, column = pair.partition("=")
            mapping[meaning.strip()] = column
        else:
            mapping |= _from_file(Path(pair))
    known = set(meanings)
    for meaning in mapping:
        if known and meaning not in known:
            close = nearest(meaning, known)
            hint = f"did you mean {close}?" if close else f"known are {', '.join(sorted(known))}"
            raise DataError(f"the recipe has no column {meaning!r}", where="--map", hint=hint)
    return mapping


def parse_conditions(pairs: Iterable[str] | None) -> dict[str, str]:
    """Read the ``NAME=VALUE`` pairs of `--where`.

    Raises `DataError` if a pair is not of that form, or a name is given twice.
    """
    conditions: dict[str, str] = {}
    for pair in pairs or ():
        name, _, value = (part.strip() for part in pair.partition("="))
        if not (name and value):
            hint = "write NAME=VALUE, such as atoms=10 or co2_uptake=6"
            raise DataError(f"{pair!r} is not a condition", where="--where", hint=hint)
        if name in conditions:
            raise DataError(f"{name} is given twice", where="--where", hint="give it once")
        conditions[name] = value
    return conditions


def _from_file(path: Path) -> dict[str, str]:
    from variolite.strict_yaml import read_yaml

    content = read_yaml(path, where=f"--map {path}")
    if not isinstance(content, dict) or not all(
        isinstance(column, str | int | float | None) for column in content.values()
    ):
        hint = 'give MEANING=COLUMN, or a YAML file with lines such as gamma_ray: "Gamma Ray"'
        raise DataError("not a mapping of meanings to columns", where=f"--map {path}", hint=hint)
    return {str(k): "-" if v is None else str(v) for k, v in content.items()}


def writable_copy(run: Path, note: Callable[[str], None]) -> Path:
    """Return a run that may be written to: of a model of the package, a copy in ``runs``."""
    if not is_shipped(run):
        return run
    copy = Path("runs") / run.name
    if not (copy / "model" / "model.json").is_file():
        copy_shipped(run.name, copy)
    note(f"{run.name} comes with the package and is not changed; results are written to {copy}")
    return copy
