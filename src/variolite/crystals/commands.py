"""``variolite crystals``: what is done with structures only, and not with tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variolite.arguments import Device, Primitive, Run, Strict, keep_inputs, writable_copy
from variolite.errors import DataError, RunFolderError, nearest, some_of
from variolite.progress import ConsoleProgress
from variolite.text_table import text_table

if TYPE_CHECKING:
    from variolite.crystals.crystal_model import CrystalModel
    from variolite.crystals.crystals import Crystal, Crystals
    from variolite.training import RunFolder

PROGRESS = ConsoleProgress()

app = typer.Typer(
    help="Crystals: one store of any structures, priors, paths between two.", no_args_is_help=True
)


_MOST_NAMES = 6
_HEADINGS = ("step", "formula", "volume per atom", "shortest distance", "change of latents")
_UNITS = ("", "", "Angstrom^3", "Angstrom", "from step before")
_END = Annotated[
    str,
    typer.Argument(
        metavar="STRUCTURE",
        help="A file with one structure, or FILE:NAME for one of several.",
        show_default=False,
    ),
]


@app.command()
def interpolate(
    run: Run,
    first: _END,
    second: _END,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Structures to write: .crystals, .extxyz, a table with a column cif (.csv, "
            ".parquet), or a new folder of CIF files.",
        ),
    ],
    steps: Annotated[
        int, typer.Option(min=2, help="Crystals on the path, both ends included.")
    ] = 9,
    path: Annotated[
        str, typer.Option(metavar="KIND", help="spherical or linear, in the latents.")
    ] = "spherical",
    device: Device = "auto",
) -> None:
    """Write crystals between two, decoded from a path between their latents.

    Both need equally many atoms in the cell, and for a model that is given the elements
    the same composition. The ends are reconstructions. What lies between is what the
    decoder makes of the path; it need not exist.
    """
    from variolite.crystals.field import load_decoder, with_predictions
    from variolite.crystals.files.writing import require_place, write_structures
    from variolite.crystals.generation.interpolation import interpolate as decode_path

    keep_inputs("--out", out, *(_parted(text)[0] for text in (first, second)))
    require_place(out)
    model = load_decoder(_crystal_run(run, "interpolate"), device)
    ends = [find_crystal(text) for text in (first, second)]
    with PROGRESS.stage(f"decoding a path of {steps} crystals"):
        crystals = decode_path(model, ends[0], ends[1], steps, path=path)
    for line in _table(model, crystals).splitlines():
        PROGRESS.note(line)
    write_structures(with_predictions(model, crystals, PROGRESS), out)
    typer.echo(str(out))


def _crystal_run(run: Path, command: str) -> RunFolder:
    """Open a run, which has to be one on crystals."""
    from variolite.crystals.field import FIELD
    from variolite.training import RunFolder

    folder = RunFolder(run)
    folder.require_finished()
    if folder.field.kind != FIELD.kind:
        raise RunFolderError(
            f"crystals {command} needs a run on crystals, and this is one on "
            f"{folder.field.subject}",
            where=str(run),
            hint="give a run of a recipe such as crystals/mp_20/vae_dng",
        )
    return folder


def find_crystal(text: str) -> Crystal:
    """Read the structure that ``FILE`` or ``FILE:NAME`` stands for.

    Raises `DataError` if there is no such file, no such structure in it, or several.
    """
    from variolite.crystals.files.reading import load_crystals

    path, name = _parted(text)
    crystals = load_crystals(path, log=PROGRESS.note)
    names: list[str] = crystals.names.tolist()
    places = [i for i, known in enumerate(names) if name in (None, known)]
    if len(places) == 1:
        return crystals[places[0]]
    if not places:
        close = nearest(str(name), names)
        hint = f"did you mean {close}?" if close else f"there are {some_of(names, _MOST_NAMES)}"
        raise DataError(f"no structure is called {name!r}", where=str(path), hint=hint)
    if name is None:
        raise DataError(
            f"holds {len(names):,} structures",
            where=str(path),
            hint=f"say which with {path}:NAME; there are {some_of(names, _MOST_NAMES)}",
        )
    raise DataError(
        f"{len(places):,} structures are called {name!r}",
        where=str(path),
        hint="give a file of the one that is meant",
    )


def _parted(text: str) -> tuple[Path, str | None]:
    """Part a file and a name; either may hold colons of its own."""
    if Path(text).exists():
        return Path(text), None
    for place, character in enumerate(text):
        if character == ":" and place and Path(text[:place]).exists():
            return Path(text[:place]), text[place + 1 :]
    return Path(text), None


def _table(model: CrystalModel, crystals: Crystals) -> str:
    """Lay out what becomes of the crystals along the path, one line for each."""
    from variolite.crystals.elements import reduced_formulas
    from variolite.crystals.generation.interpolation import latent_changes
    from variolite.crystals.geometry.periodic import shortest_distances

    rows = [_UNITS] + [
        (str(step), str(formula), f"{volume:.2f}", f"{distance:.3f}", f"{change:.3f}")
        for step, (formula, volume, distance, change) in enumerate(
            zip(
                reduced_formulas(crystals),
                crystals.volumes / crystals.counts,
                shortest_distances(crystals),
                latent_changes(model, crystals),
                strict=True,
            )
        )
    ]
    rows[1] = (*rows[1][:4], "")
    return text_table(_HEADINGS, rows, right={*_HEADINGS} - {"formula"})


@app.command()
def pack(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATHS...",
            help="CIF, POSCAR, extXYZ, JSON, tables with a column 'cif', archives, or folders.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Store to write, ending in .crystals.")
    ],
    reduce: Annotated[
        bool, typer.Option("--reduce", help="Write the Niggli cell of every structure.")
    ] = False,
    primitive: Primitive = False,
    strict: Strict = False,
    rejects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Table of what was rejected, and why (OUT.rejects.csv)."),
    ] = None,
    max_atoms: Annotated[
        int, typer.Option(metavar="N", help="Largest number of atoms in a cell.", min=1)
    ] = 512,
    limit_rejected: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="It is an error when a larger share of the structures is rejected: 0.05.",
            min=0,
            max=1,
        ),
    ] = 1.0,
) -> None:
    """Read structures, check each one, and write those that pass into one file.

    What is rejected goes into a table with a reason for each; the file is written
    all the same unless nothing is left, or more than --limit-rejected.
    """
    from variolite.crystals.files.checks import Limits
    from variolite.crystals.files.reading import read_all, tables_beside
    from variolite.crystals.files.store import write_store
    from variolite.crystals.files.writing import require_place
    from variolite.crystals.geometry.periodic import reduce_cells
    from variolite.crystals.geometry.primitive import primitive_cells
    from variolite.records import require_writable

    store = _as_store(out)
    require_place(store)
    beside, notes = tables_beside(store)
    tables = (rejects or beside, notes)
    keep_inputs("--rejects", tables[0], *paths)
    require_writable(tables[0])
    with PROGRESS.stage("reading structures") as step:
        reading = read_all(
            paths, limits=Limits(max_atoms=max_atoms), workers=os.cpu_count() or 1, log=step
        )
    reading.report(PROGRESS.note, tables, always=rejects is not None)
    if strict:
        reading.require_sound()
    reading.require(limit_rejected, paths)
    crystals = reading.crystals
    if primitive:
        with PROGRESS.stage("finding primitive cells") as step:
            crystals = primitive_cells(crystals, log=step)
    if reduce:
        with PROGRESS.stage("reducing cells") as step:
            crystals = reduce_cells(crystals, log=step)
    write_store(store, crystals)
    for line in _summary(crystals):
        PROGRESS.note(line)
    typer.echo(str(store))


def _as_store(out: Path) -> Path:
    if out.suffix.casefold() != ".crystals":
        raise DataError(
            "a store ends in .crystals",
            where=f"--out {out}",
            hint=f"Write --out {out.with_suffix('.crystals')}",
        )
    return out


def _summary(crystals: Crystals) -> list[str]:
    import numpy as np

    from variolite.crystals.elements import SYMBOLS, reduced_formulas

    counts = crystals.counts
    elements = [SYMBOLS[z] for z in np.unique(crystals.species)]
    listed = ", ".join(elements[:12]) + (", ..." if len(elements) > 12 else "")
    per_atom = crystals.volumes / counts
    lines = [
        f"{len(crystals):,} structures of {len(np.unique(reduced_formulas(crystals))):,} formulas",
        f"atoms: {counts.min()} to {counts.max()} per cell, {np.mean(counts):.1f} on average",
        f"elements: {len(elements)} ({listed})",
        f"volume per atom: {per_atom.min():.1f} to {per_atom.max():.1f} A^3",
    ]
    if crystals.properties:
        lines.append(f"properties: {', '.join(crystals.properties)}")
    repeated = len(crystals) - len(np.unique(crystals.names))
    if repeated:
        lines.append(f"names that occur before: {repeated:,}")
    return lines


@app.command()
def prior(
    run: Run,
    data: Annotated[
        Path, typer.Option("--data", metavar="PATH", help="The structures it was trained from.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="prior.kind=flow, prior.epochs=50, properties=[band_gap].",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Fit the prior and the property predictions of a finished run again.

    The network stays as it is; what `variolite generate` draws from is replaced.
    """
    from variolite.crystals.field import load
    from variolite.crystals.run import refit_prior

    folder = _crystal_run(writable_copy(run, PROGRESS.note), "prior")
    crystals = load(data, PROGRESS, primitive=folder.model().primitive)
    with folder.locked():
        refit_prior(folder, crystals, overrides or (), device=device, progress=PROGRESS)
    typer.echo(str(folder.path))
