"""What the run folder of a crystal model holds for its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from variolite.crystals.crystals import Crystals, cell_parameters
from variolite.crystals.elements import chemical_family, reduced_formulas
from variolite.crystals.files.store import open_store
from variolite.crystals.matching.displacements import PeriodicErrors, periodic_errors
from variolite.crystals.report.crystal_figures import Floats, Measure, Strings
from variolite.errors import counted
from variolite.scoring.scorecard import Scorecard
from variolite.training.run_folder import RunFiles, damaged

# Columns of the table of held-out crystals that are errors: what each is called, its unit, and
# the words on the median.
MEASURES = {
    "periodic_error": ("periodic error", "Å", "atoms are off by {}\u00a0Å"),
    "length_error_percent": ("error of cell lengths", "%", "cell lengths by {}\u00a0%"),
    "angle_error_deg": ("error of cell angles", "°", "cell angles by {}°"),
    "volume_error_percent": ("error of cell volume", "%", "the volume by {}\u00a0%"),
}


@dataclass(frozen=True)
class Pairs:
    """B held-out crystals and what the model made of them, atom by atom."""

    originals: Crystals
    reconstructed: Crystals

    def __len__(self) -> int:
        return len(self.originals)

    @cached_property
    def parameters(self) -> tuple[Floats, Floats]:
        """Lengths in Å, angles in degrees and volume per atom in Å³, of both, [B, 7] each."""
        counts = np.maximum(self.originals.counts, 1)
        # A reconstruction may have failed altogether.
        with np.errstate(invalid="ignore"):
            original, rebuilt = (
                np.column_stack([cell_parameters(crystals.lattices), crystals.volumes / counts])
                for crystals in (self.originals, self.reconstructed)
            )
        return original, rebuilt

    @cached_property
    def errors(self) -> PeriodicErrors | None:
        """Periodic errors of atoms and crystals; None where a structure has no atoms."""
        if not len(self) or (self.originals.counts < 1).any():
            return None
        return periodic_errors(self.originals, self.reconstructed)

    @cached_property
    def formulas(self) -> Strings:
        """Reduced formulas of the originals, [B]."""
        return reduced_formulas(self.originals)

    @property
    def extent(self) -> str:
        """How many crystals these are, and of how many formulas."""
        return _extent(self.formulas)


@dataclass(frozen=True)
class CrystalRun:
    """A run folder of a crystal model; a part that is not there is None.

    ``table`` has one row for each of the B scored crystals, with what the originals say where
    these are all there; ``pairs`` are those or, where they are many, a sample of those that could
    be reconstructed.
    """

    files: RunFiles
    scorecard: Scorecard | None
    originals: Crystals | None
    pairs: Pairs | None
    samples: Crystals | None
    table: pl.DataFrame

    @classmethod
    def of(cls, files: RunFiles) -> CrystalRun:
        """Read it; `RunFolderError` if a file is damaged, or files of one scoring do not fit."""
        originals, rebuilt, samples = (
            files.run.read(files.run.path / f"{part}.crystals", open_store)
            for part in ("originals", "reconstructed", "samples")
        )
        pairs, table = None, pl.DataFrame() if files.held_out is None else files.held_out
        if originals is not None and rebuilt is not None:
            if not np.array_equal(rebuilt.counts, originals.counts):
                path = files.run.path / "reconstructed.crystals"
                raise damaged(path, "its structures are not those of originals.crystals")
            pairs = Pairs(originals, rebuilt)
        if originals is not None and "name" in table.columns:
            missing = len({*originals.names.tolist()} - {*table["name"].cast(pl.String).to_list()})
            if missing:
                of = f"{missing:,} of the {len(originals):,} structures of originals.crystals"
                raise damaged(files.run.held_out_file, f"it lacks {of}")
        if originals is not None and (files.held_out is None or table.height == len(originals)):
            known = {
                "formula": reduced_formulas(originals),
                "chemical_family": chemical_family(originals),
                "n_atoms": originals.counts,
                "volume_per_atom": originals.volumes / np.maximum(originals.counts, 1),
            }
            derived = [pl.Series(k, v.tolist()) for k, v in known.items() if k not in table.columns]
            table = pl.DataFrame([*table.get_columns(), *derived])
        scorecard = files.run.read(files.run.scorecard_file, Scorecard.read)
        return cls(files, scorecard, originals, pairs, samples, table)

    @property
    def count(self) -> int:
        """Number of scored crystals; 0 where none are there."""
        return self.table.height

    @property
    def species_given(self) -> bool:
        """Whether the decoder is given the atom types, as the model file says."""
        architecture = (self.files.model or {}).get("architecture")
        if not isinstance(architecture, Mapping):
            return False
        # The second is how format 1 says it.
        given = "species" in architecture.get("given", ())
        return given or architecture.get("species_given") is True

    def column(self, name: str) -> Floats:
        """Return a numeric column of the table, [B], NaN where it is missing."""
        series = self.table.get_column(name, default=pl.Series([None] * self.count))
        if series.dtype == pl.String:
            return np.full(self.count, np.nan)
        values = series.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
        return np.where(np.isfinite(values), values, np.nan)

    def texts(self, name: str) -> Strings:
        """Return a column of the table as text, [B], empty where it is missing."""
        series = self.table.get_column(name, default=pl.Series([None] * self.count))
        return np.asarray(series.cast(pl.String, strict=False).fill_null("").to_list(), np.str_)

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """Errors by crystal, by name of the column."""
        every = {n: Measure(*m[:2], np.abs(self.column(n))) for n, m in MEASURES.items()}
        return {name: measure for name, measure in every.items() if measure.known.size}

    @property
    def extent(self) -> str:
        """How many crystals were scored, and of how many formulas."""
        return _extent(self.texts("formula"))

    @property
    def sampling(self) -> str:
        """Say that ``pairs`` are not all crystals that were scored; empty where they are."""
        if self.pairs is None or len(self.pairs) >= self.count:
            return ""
        return (
            f" They are those that the run keeps of {self.count:,} scored crystals; crystals for "
            "which no cell came back are not among them."
        )


def _extent(formulas: Strings) -> str:
    crystals = counted(len(formulas), "held-out crystal")
    known = len(np.unique(formulas[formulas != ""]))
    return f"{crystals} of {counted(known, 'formula')}" if known else crystals
