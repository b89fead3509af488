"""Scores of anyone's generated crystals, from files, against known ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from variolite.arguments import keep_inputs
from variolite.errors import DataError, nearest
from variolite.progress import Progress
from variolite.records import require_writable, write_table

if TYPE_CHECKING:
    from variolite.crystals.evaluation import Energies, Relax
    from variolite.scoring import Scorecard

ENERGIES = ("chgnet", "none")

LARGEST = 5000  # Atoms in a cell beyond which a structure counts as unreadable.


def score_structures(
    structures: Sequence[Path],
    progress: Progress,
    *,
    reference: Path | None = None,
    test: Path | None = None,
    hull: Path | None = None,
    energies: str | None = None,
    relax_steps: int = 0,
    out: Path | None = None,
    workers: int | None = None,
) -> Scorecard:
    """Score structures against known ones.

    Novelty is against ``reference``, the distribution wanted that of ``test``, stability by
    ``energies`` (a potential, or "none"; chgnet where there is a hull), after ``relax_steps``,
    above ``hull``, a table of known phases. ``out`` gets the results for every structure, or the
    scorecard where it ends in .json. DataError if an option does not go with the others or a
    file cannot be used.
    """
    from variolite.crystals.evaluation import read_hull, score_generation
    from variolite.crystals.files import NO_LIMITS, load_crystals, read_structures

    if reference is None:
        raise DataError(
            "there is nothing to compare them with",
            where="--structures",
            hint="Give --reference FILE: known crystals, such as those a model was trained on",
        )
    potential = _potential(energies, hull, relax_steps)
    keep_inputs("--out", out, *structures, reference, test, hull)
    if out is not None:
        # The scorecard is text; a table beside it would have the same place.
        require_writable(out.with_suffix(".csv") if out.suffix == ".json" else out)
    workers = (os.cpu_count() or 1) if workers is None else workers
    # What a generator got wrong is to be counted as invalid, not rejected unread.
    limits = replace(NO_LIMITS, max_atoms=LARGEST)
    with progress.stage("reading structures") as step:
        phases = read_hull(hull) if hull is not None and potential else None
        reading = read_structures(structures, properties=False, limits=limits, log=step)
        known = load_crystals(reference, log=step)
        real = None if test is None else load_crystals(test, log=step)
    for line in reading.remarks():
        progress.note(line)
    with progress.stage("scoring structures") as step:
        energy, relax = _functions(potential, relax_steps, workers, step)
        scores = score_generation(
            reading.crystals,
            known,
            test=real,
            energies=energy,
            hull=phases,
            relax=relax,
            unreadable=len(reading.rejects),
            workers=workers,
            log=step,
        )
    card = scores.card(split="reference" if test is None else "test")
    if out is not None and out.suffix == ".json":
        card.write(out)
    elif out is not None:
        write_table(scores.structures, out)
    return card


def _potential(name: str | None, hull: Path | None, relax_steps: int) -> str | None:
    name = name or ("none" if hull is None else "chgnet")
    if name not in ENERGIES:
        close = nearest(name, ENERGIES)
        raise DataError(
            f"there are no energies {name!r}",
            where="--energies",
            hint=f"did you mean {close}?" if close else f"choose from {', '.join(ENERGIES)}",
        )
    if name == "none":
        if relax_steps:
            raise DataError("needs a potential", where="--relax-steps", hint="Give --hull too")
        return None
    if hull is None:
        raise DataError(
            "energies need known phases to compare with",
            where="--energies",
            hint="Give --hull too, a table of formulas with formation_energy_per_atom",
        )
    return name


def _functions(
    potential: str | None, relax_steps: int, workers: int, log: Callable[[str], None]
) -> tuple[Energies | None, Relax | None]:
    """Energies and relaxation by a potential, as scores of generated crystals take them."""
    if potential is None:
        return None, None
    from variolite.crystals.potential.features import energy_function
    from variolite.crystals.potential.relaxation import RelaxationLimits, relax

    energies = energy_function(potential, workers=workers, log=log)
    if not relax_steps:
        return energies, None
    limits = RelaxationLimits(steps=relax_steps)
    return (
        energies,
        lambda c: relax(c, potential, limits=limits, workers=workers, log=log).crystals,
    )
