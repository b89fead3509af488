"""CRAFTED and CoRE MOF 2019 as tables of frameworks, and their splits by family.

The tables of the shared folder have CO2 uptakes, pores and linkers as they were read; a table that
`variolite frameworks describe` wrote of the same structures is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from variolite.frameworks.columns import join
from variolite.frameworks.framework_table import read_frameworks
from variolite.linkers import read_linker
from variolite.records import read_table

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "frameworks" / "crafted"
TABLE = DATA / "crafted_table.csv"

NUMBERS = {
    "density": "density_g_cm3",
    "accessible_void_fraction": "AV_VF",
    "pore_volume": "AV_cm3_g",
    "surface_area_mass": "ASA_m2_g",
    "surface_area_volume": "ASA_m2_cm3",
    "largest_cavity_diameter": "LCD",
    "pore_limiting_diameter": "PLD",
    "largest_free_path": "LFPD",
    "co2_uptake": "co2_mean8",
    "co2_uptake_sd": "co2_sd8",
}

CORE = {
    "MOFname": "name",
    "family": "family",
    "metals": "metals",
    "linkers": "linkers",
    "net": "net",
    "density_g_cm3": "density",
    "AV_VF": "void_fraction",  # of a point, as ours
    "ASA_m2_g": "surface_area_mass",
    "ASA_m2_cm3": "surface_area_volume",
    "LCD": "largest_cavity_diameter",
    "PLD": "pore_limiting_diameter",
    "CO2_LP": "co2_uptake",  # at .15 bar
}
"""Columns of the table of CoRE MOF 2019 with sets and families read, and their names here."""


def load(path: Path = TABLE) -> pl.DataFrame:
    """Read any of the tables; rows without a metal or a linker are left out."""
    table = read_table(path)
    if "Name" in table.columns:
        table = _renamed(table)
    elif "MOFname" in table.columns:
        table = core_table(path)
    return table.filter((pl.col("metals") != "") & (pl.col("linkers") != ""))


def core_table(path: Path) -> pl.DataFrame:
    """Read the table of CoRE MOF 2019."""
    return read_frameworks(path).frame.select(pl.col(a).alias(b) for a, b in CORE.items())


def _renamed(table: pl.DataFrame) -> pl.DataFrame:
    names = table["Name"].cast(pl.String)
    linkers = [
        # What RDKit cannot read stays as it was read.
        join(read_linker(raw).smiles or raw for raw in (cell or "").split(" . ") if raw)
        for cell in table["linker_smiles"].to_list()
    ]
    return table.select(
        name=names,
        family=names.str.slice(0, 6),
        formula=pl.col("chemical_formula"),
        atoms=pl.col("total_atoms"),
        metals=pl.col("metal").fill_null("").str.replace_all("+", ";", literal=True),
        linkers=pl.Series(linkers),
        **{ours: pl.col(theirs) for ours, theirs in NUMBERS.items()},
    )


def splits(
    table: pl.DataFrame, seeds: int, share: float = 0.2
) -> Iterator[tuple[pl.DataFrame, ...]]:
    """Training and held-out rows, a share of the families held out, one split for each seed."""
    families = np.unique(table["family"].to_numpy())
    for seed in range(seeds):
        chosen = np.random.default_rng(seed).permutation(families)[: round(share * len(families))]
        held = table["family"].is_in(chosen.tolist())
        yield table.filter(~held), table.filter(held)
