"""What a crystal run holds besides the files that every run has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, cell_parameters
from variolite.crystals.elements import chemical_family, reduced_formulas
from variolite.crystals.files.store import open_store
from variolite.crystals.matching.scores import PeriodicErrors, periodic_errors
from variolite.report.run_files import RunFiles, part_path, read_part

__all__ = ["CrystalRun", "Pairs", "crystal_run", "is_crystal_run"]

Floats = NDArray[np.float64]
Strings = NDArray[np.str_]

_STORES = ("originals", "reconstructed", "samples")


@dataclass(frozen=True)
class Pairs:
    """Held-out crystals and what the model made of them, in the same order.

    Both hold B structures with the same numbers of atoms; atom i of one is atom i of the
    other.
    """

    originals: Crystals
    reconstructed: Crystals

    def __len__(self) -> int:
        return len(self.originals)

    @cached_property
    def parameters(self) -> tuple[Floats, Floats]:
        """Lengths in Angstrom and angles in degrees of both, [B, 6] each."""
        return cell_parameters(self.originals.lattices), cell_parameters(
            self.reconstructed.lattices
        )

    @cached_property
    def volumes(self) -> tuple[Floats, Floats]:
        """Volumes per atom of both in cubic Angstrom, [B] each."""
        counts = np.maximum(self.originals.counts, 1)
        # A reconstruction may have failed altogether.
        with np.errstate(invalid="ignore"):
            return self.originals.volumes / counts, self.reconstructed.volumes / counts

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
        return _extent(len(self), self.formulas)


@dataclass(frozen=True)
class CrystalRun:
    """A run folder of a crystal model; a part that is not there is None.

    ``held_out`` has one row for each of the B scored crystals; ``pairs`` are those or, where
    they are many, a sample of those that could be reconstructed.
    """

    files: RunFiles
    originals: Crystals | None
    pairs: Pairs | None
    samples: Crystals | None
    held_out: pl.DataFrame | None

    @cached_property
    def species_given(self) -> bool:
        """Whether the decoder is told the atom types, as the model file says."""
        return _stated(self.files.model, "species_given") is True

    @cached_property
    def count(self) -> int:
        """Number of scored crystals; 0 where none are there."""
        if self.held_out is not None:
            return self.held_out.height
        return len(self.originals) if self.originals is not None else 0

    def column(self, name: str) -> Floats | None:
        """Return a numeric column of the held-out table, [B], NaN where it is missing."""
        if self.held_out is None or name not in self.held_out.columns:
            return None
        series = self.held_out[name]
        if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
            return None
        values = series.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
        return np.where(np.isfinite(values), values, np.nan)

    @cached_property
    def atoms(self) -> NDArray[np.int64] | None:
        """Number of atoms of every scored crystal, [B]; None where it is not known."""
        column = self.column("n_atoms")
        if column is not None:
            return np.nan_to_num(column).astype(np.int64)
        return None if self._alike is None else self._alike.counts

    @cached_property
    def volumes(self) -> Floats | None:
        """Volume per atom of every scored crystal in cubic Angstrom, [B]; None if not known."""
        column = self.column("volume_per_atom")
        if column is not None or self._alike is None:
            return column
        return self._alike.volumes / np.maximum(self._alike.counts, 1)

    @cached_property
    def families(self) -> Strings | None:
        """Chemical family of every scored crystal, [B]; None where it is not known."""
        column = self._strings("chemical_family")
        if column is not None or self._alike is None:
            return column
        return chemical_family(self._alike)

    @property
    def extent(self) -> str:
        """How many crystals were scored, and of how many formulas."""
        formulas = self._strings("formula")
        if formulas is None and self._alike is not None:
            formulas = reduced_formulas(self._alike)
        return _extent(self.count, formulas)

    @property
    def sampling(self) -> str:
        """Say that ``pairs`` are not all crystals that were scored; empty where they are."""
        if self.pairs is None or len(self.pairs) >= self.count:
            return ""
        return (
            f" They are those that the run keeps of {self.count:,} scored crystals; crystals for "
            "which no cell came back are not among them."
        )

    @property
    def _alike(self) -> Crystals | None:
        """The originals, if they are the very crystals of the table or there is no table."""
        if self.originals is None or len(self.originals) != self.count:
            return None
        return self.originals

    def _strings(self, name: str) -> Strings | None:
        if self.held_out is None or name not in self.held_out.columns:
            return None
        series = self.held_out[name].cast(pl.String, strict=False).fill_null("")
        return np.asarray(series.to_list(), dtype=np.str_)


def _extent(count: int, formulas: Strings | None) -> str:
    crystals = f"{count:,} held-out {'crystal' if count == 1 else 'crystals'}"
    if formulas is None or not count:
        return crystals
    distinct = len(np.unique(formulas))
    return f"{crystals} of {distinct:,} {'formula' if distinct == 1 else 'formulas'}"


def _stated(content: object, name: str) -> object:
    """Return the first entry of a name in nested mappings; None where there is none."""
    if not isinstance(content, Mapping):
        return None
    if name in content:
        return content[name]
    found = (_stated(value, name) for value in content.values())
    return next((value for value in found if value is not None), None)


def is_crystal_run(files: RunFiles) -> bool:
    """Return whether a run folder is that of a crystal model.

    The model file and the recipe say so; where both are gone, the stores of crystals do.
    """
    if files.model is not None and isinstance(files.model.get("kind"), str):
        return str(files.model["kind"]).endswith("crystal_vae")
    if files.recipe:
        return files.recipe.get("kind") == "crystals"
    return any(part_path(files.folder, part).is_file() for part in _STORES)


def crystal_run(files: RunFiles) -> CrystalRun:
    """Read what a crystal run holds besides the files that every run has.

    Raises
    ------
    RunFolderError
        If a file is damaged, or files of one scoring do not fit each other.
    """
    originals = read_part(files.folder, "originals", open_store)

    def fitting(path: Path) -> Pairs | None:
        rebuilt = open_store(path)
        if originals is None:
            return None
        if len(rebuilt) != len(originals) or not np.array_equal(rebuilt.counts, originals.counts):
            raise ValueError("its structures are not those of originals.crystals")
        return Pairs(originals, rebuilt)

    pairs = read_part(files.folder, "reconstructed", fitting)
    held_out = files.held_out
    if originals is not None and held_out is not None and "name" in held_out.columns:
        missing = set(originals.names.tolist()) - set(held_out["name"].cast(pl.String).to_list())

        def misfit(_: Path) -> None:
            raise ValueError(
                f"it lacks {len(missing):,} of the {len(originals):,} structures of "
                "originals.crystals"
            )

        if missing:
            read_part(files.folder, "held_out", misfit)
    samples = read_part(files.folder, "samples", open_store)
    return CrystalRun(files, originals, pairs, samples, held_out)
