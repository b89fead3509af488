"""``variolite crystals interpolate``: a path of crystals between two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variolite.cli.generate import decoder, with_predictions
from variolite.cli.options import Run, keep_inputs
from variolite.cli.progress import note, waiting
from variolite.errors import DataError, nearest

if TYPE_CHECKING:
    from variolite.crystals.runs import CrystalModel
    from variolite.crystals.structures import Crystal, Crystals

__all__ = ["find_crystal", "interpolate"]

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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
) -> None:
    """Write crystals between two, decoded from a path between their latents.

    Both need equally many atoms in the cell, and for a model that is told the elements
    the same composition. The ends are reconstructions. What lies between is what the
    decoder makes of the path; nothing says that it exists.
    """
    from variolite.crystals.latent.interpolation import interpolate as decode_path
    from variolite.crystals.structures import require_place, write_structures

    keep_inputs("--out", out, *(_parted(text)[0] for text in (first, second)))
    require_place(out)
    model = decoder(run, device, "crystals interpolate")
    ends = [find_crystal(text) for text in (first, second)]
    with waiting(f"decoding a path of {steps} crystals"):
        crystals = decode_path(model, ends[0], ends[1], steps, path=path)
    for line in _table(model, crystals):
        note(line)
    write_structures(with_predictions(model, crystals), out)
    typer.echo(str(out))


def find_crystal(text: str) -> Crystal:
    """Read the structure that ``FILE`` or ``FILE:NAME`` stands for.

    Raises
    ------
    DataError
        If there is no such file, no such structure in it, or several.
    """
    from variolite.crystals.structures import load_crystals

    path, name = _parted(text)
    crystals = load_crystals(path, tell=note)
    names: list[str] = crystals.names.tolist()
    places = [i for i, known in enumerate(names) if name in (None, known)]
    if len(places) == 1:
        return crystals[places[0]]
    if not places:
        close = nearest(str(name), names)
        hint = f"did you mean {close}?" if close else f"there are {_some(names)}"
        raise DataError(f"no structure is called {name!r}", where=str(path), mend=hint)
    if name is None:
        raise DataError(
            f"holds {len(names):,} structures",
            where=str(path),
            mend=f"say which with {path}:NAME; there are {_some(names)}",
        )
    raise DataError(
        f"{len(places):,} structures are called {name!r}",
        where=str(path),
        mend="give a file of the one that is meant",
    )


def _parted(text: str) -> tuple[Path, str | None]:
    """Part a file and a name; either may hold colons of its own."""
    if Path(text).exists():
        return Path(text), None
    for place, character in enumerate(text):
        if character == ":" and place and Path(text[:place]).exists():
            return Path(text[:place]), text[place + 1 :]
    return Path(text), None


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _table(model: CrystalModel, crystals: Crystals) -> list[str]:
    """Lay out what becomes of the crystals along the path, one line for each."""
    from variolite.crystals.evaluation import shortest_distances
    from variolite.crystals.latent.interpolation import latent_changes
    from variolite.crystals.structures import reduced_formulas

    rows = [_HEADINGS, _UNITS] + [
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
    rows[2] = (*rows[2][:4], "")
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return [
        f"{row[0]:>{widths[0]}}  {row[1]:<{widths[1]}}  "
        + "  ".join(
            cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)
        ).rstrip()
        for row in rows
    ]
