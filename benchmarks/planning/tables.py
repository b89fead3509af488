"""CRAFTED and the COFs as candidates: features, what was measured, and what it cost."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from benchmarks.frameworks.crafted import TABLE
from numpy.typing import NDArray
from rdkit import Chem, RDLogger
from rdkit.Chem import rdMolDescriptors

Floats = NDArray[np.float64]

COFS = TABLE.parents[1] / "cof_xekr"
GEOMETRY = (
    *("LCD", "PLD", "LFPD", "density_g_cm3", "ASA_m2_cm3", "ASA_m2_g", "NASA_m2_cm3"),
    *("NASA_m2_g", "AV_VF", "AV_cm3_g", "NAV_VF", "NAV_cm3_g", "OMS"),
)
DESCRIBED = (
    *("metal_coordination", "linker_length", "packing_fraction", "catenation", "void_fraction"),
    *("atoms", "volume", "pore_volume", "surface_area_volume"),
)
GROUPS = (
    *("[CX3](=O)[O]", "[n;r5]", "[n;r6]", "[NX3;H2,H1]", "[OX2H]", "S(=O)(=O)", "F", "P(=O)"),
)
"""Functional groups counted in linkers, as SMARTS."""


@dataclass
class Candidates:
    """Features (N, d), targets, noise and families (N,)."""

    features: Floats
    target: Floats
    noise: Floats
    family: NDArray[np.str_]
    process: Floats


def crafted(described: Path | None) -> Candidates:
    """Read CRAFTED; ``described`` is a table of the same structures by ``frameworks describe``."""
    table = pl.read_csv(TABLE)
    parts = [table.select(GEOMETRY).cast(pl.Float64).to_numpy(), _elements(table)]
    metals = table["metal"].fill_null("none")
    common = [name for name, n in Counter(metals.to_list()).items() if n >= 5]
    parts.append(np.column_stack([(metals == name).to_numpy() for name in common]))
    parts.append(table["n_linkers"].fill_null(0).cast(pl.Float64).to_numpy()[:, None])
    parts.append(np.array([_linkers(cell or "") for cell in table["linker_smiles"]]))
    if described is not None:
        names = table.select(name="Name")
        more = names.join(
            pl.read_parquet(described), on="name", how="left", maintain_order="left"
        ).select(pl.col(DESCRIBED).cast(pl.Float64).fill_nan(None))
        parts.append(more.with_columns(pl.all().fill_null(pl.all().median())).to_numpy())
    return Candidates(
        features=np.column_stack(parts).astype(np.float64),
        target=table["co2_mean8"].to_numpy(),
        noise=table["co2_sd8"].to_numpy() / 8**0.5,
        family=table["Name"].cast(pl.String).str.slice(0, 6).to_numpy(),
        process=table["psa_min_purity_recovery_mean"].cast(pl.Float64).to_numpy(),
    )


def _elements(table: pl.DataFrame) -> Floats:
    """Shares of the elements that at least three structures have."""
    counts = [
        {e: float(n or 1) for e, n in re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", formula)}
        for formula in table["chemical_formula"].to_list()
    ]
    seen = Counter(e for one in counts for e in one)
    names = sorted(e for e, n in seen.items() if n >= 3)
    return np.array([[one.get(e, 0.0) / sum(one.values()) for e in names] for one in counts])


def _linkers(cell: str) -> list[float]:
    """Descriptors by RDKit, averaged over the linkers of a framework."""
    RDLogger.DisableLog("rdApp.*")
    rows = []
    for smiles in cell.split(" . "):
        molecule = Chem.MolFromSmiles(smiles.strip()) if smiles.strip() else None
        if molecule is None:
            continue
        rows.append(
            [
                molecule.GetNumHeavyAtoms(),
                rdMolDescriptors.CalcNumRings(molecule),
                rdMolDescriptors.CalcNumAromaticRings(molecule),
                rdMolDescriptors.CalcNumRotatableBonds(molecule),
                rdMolDescriptors.CalcTPSA(molecule),
                rdMolDescriptors.CalcCrippenDescriptors(molecule)[0],
                rdMolDescriptors.CalcFractionCSP3(molecule),
                *(len(molecule.GetSubstructMatches(Chem.MolFromSmarts(group))) for group in GROUPS),
            ]
        )
    return np.mean(rows, axis=0).tolist() if rows else [0.0] * (7 + len(GROUPS))


@dataclass
class Cofs:
    """Features (N, d), Xe/Kr selectivity by GCMC and by Henry, and the minutes of each (N,)."""

    features: Floats
    target: Floats
    minutes: Floats
    henry: Floats
    henry_minutes: Floats


def cofs() -> Cofs:
    """Read the COFs with both fidelities; both gas rows repeat the one mixture run of GCMC."""
    features = pl.read_csv(COFS / "descriptors" / "cof_descriptors.csv")
    selectivity, time = pl.col("selectivity Xe/Kr"), pl.col("elapsed time (min)")
    grouped = {
        name: pl.read_csv(COFS / "targets" / f"{name}_calculations.csv").group_by(
            crystal_name="xtal", maintain_order=True
        )
        for name in ("gcmc", "henry")
    }
    table = (
        features.join(
            grouped["gcmc"].agg(gcmc=selectivity.first(), minutes=time.first()), on="crystal_name"
        )
        .join(
            grouped["henry"].agg(henry=selectivity.first(), henry_minutes=time.sum()),
            on="crystal_name",
        )
        .drop_nulls()
        .filter(pl.col("gcmc").is_finite())
    )
    return Cofs(
        table.select(features.columns[1:]).to_numpy(),
        *(table[c].to_numpy() for c in ("gcmc", "minutes", "henry", "henry_minutes")),
    )
