"""``variolite score --structures``: metrics of anyone's generated crystals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from variolite.cli.options import keep_inputs
from variolite.cli.progress import note, waiting
from variolite.errors import DataError, nearest

if TYPE_CHECKING:
    from variolite.crystals.evaluation import Energies, Relax

__all__ = ["StructureScoring", "score_structures"]

ENERGIES = ("chgnet", "none")
LARGEST = 5000
"""Atoms in a cell beyond which a structure counts as unreadable."""


@dataclass(frozen=True)
class StructureScoring:
    """What ``variolite score --structures`` was asked for.

    Attributes
    ----------
    structures
        Files and folders of the structures to score.
    reference
        Known structures that novelty is against.
    test
        Real structures whose distribution is wanted.
    hull
        Table of known phases with formation energies.
    energies
        Name of a potential, or "none"; by default chgnet where there is a hull.
    relax_steps
        Steps of relaxation; 0 for none.
    out
        Table of the verdicts on every structure; the scorecard where it ends in .json.
    workers
        Processes.
    """

    structures: tuple[Path, ...]
    reference: Path
    test: Path | None
    hull: Path | None
    energies: str | None
    relax_steps: int
    out: Path | None
    workers: int


def score_structures(asked: StructureScoring, *, as_json: bool) -> None:
    """Score structures against known ones; print a table, or the scorecard as JSON.

    Raises
    ------
    DataError
        If an option does not go with the others or a file cannot be used.
    """
    from variolite.crystals.evaluation import (
        Matcher,
        format_generation,
        read_hull,
        score_generation,
    )
    from variolite.crystals.structures import Limits, load_crystals, read_structures
    from variolite.records import write_table

    potential = _potential(asked)
    keep_inputs("--out", asked.out, *asked.structures, asked.reference, asked.test, asked.hull)
    _require_place(asked.out)
    # What a generator got wrong is to be counted as invalid, not turned away unread.
    anything = Limits(
        max_atoms=LARGEST,
        min_distance=0.0,
        volume_per_atom=(0.0, math.inf),
        lengths=(0.0, math.inf),
    )
    with waiting("reading structures") as tell:
        hull = read_hull(asked.hull) if asked.hull is not None and potential else None
        reading = read_structures(asked.structures, properties=False, limits=anything, tell=tell)
        reference = load_crystals(asked.reference, tell=tell)
        test = None if asked.test is None else load_crystals(asked.test, tell=tell)
    for line in reading.remarks():
        note(line)
    with waiting("scoring structures") as tell:
        energies, relax = _functions(asked, potential, tell)
        scores = score_generation(
            reading.crystals,
            reference,
            test=test,
            energies=energies,
            hull=hull,
            relax=relax,
            same=Matcher(workers=asked.workers, tell=tell),
            unreadable=len(reading.rejects),
            workers=asked.workers,
            tell=tell,
        )
    card = scores.card(split="reference" if test is None else "test")
    if asked.out is not None and asked.out.suffix == ".json":
        card.write(asked.out)
    elif asked.out is not None:
        write_table(scores.structures, asked.out)
    typer.echo(card.to_json() if as_json else format_generation(card))


def _potential(asked: StructureScoring) -> str | None:
    """The potential to use; None for none."""
    name = asked.energies or ("none" if asked.hull is None else "chgnet")
    if name not in ENERGIES:
        close = nearest(name, ENERGIES)
        raise DataError(
            f"there are no energies {name!r}",
            where="--energies",
            mend=f"did you mean {close}?" if close else f"choose from {', '.join(ENERGIES)}",
        )
    if name == "none":
        if asked.relax_steps:
            raise DataError("needs a potential", where="--relax-steps", mend="Give --hull too")
        return None
    if asked.hull is None:
        raise DataError(
            "energies say nothing without known phases to compare with",
            where="--energies",
            mend="Give --hull too, a table of formulas with formation_energy_per_atom",
        )
    return name


def _functions(
    asked: StructureScoring, potential: str | None, tell: Callable[[str], None]
) -> tuple[Energies | None, Relax | None]:
    if potential is None:
        return None, None
    from variolite.crystals.foundation import (
        RelaxationLimits,
        Source,
        energy_function,
        relaxation_function,
    )

    source = Source(potential)
    energies = energy_function(source, workers=asked.workers, tell=tell)
    if not asked.relax_steps:
        return energies, None
    limits = RelaxationLimits(steps=asked.relax_steps)
    return energies, relaxation_function(source, limits=limits, workers=asked.workers, tell=tell)


def _require_place(out: Path | None) -> None:
    """Say before the work that the result cannot be written."""
    from variolite.records import require_writable

    if out is not None:
        # The scorecard is text; a table beside it would have the same place.
        require_writable(out.with_suffix(".csv") if out.suffix == ".json" else out)
