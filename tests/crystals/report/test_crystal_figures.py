"""Numbers in the figures agree with independent computations from the same files."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from page_layout import Node, read_page
from variolite.crystals.elements import SYMBOLS, place_in_table
from variolite.crystals.field import FIELD
from variolite.crystals.files.store import open_store
from variolite.crystals.report import CrystalRun, crystal_page
from variolite.crystals.report.crystal_figures import Colouring, match_share
from variolite.report.tables import chemical, significant
from variolite.training import RunFolder
from variolite.training.run_folder import read_run


def write_report(run: Path) -> Path:
    return FIELD.report(RunFolder(run))


@pytest.fixture(scope="module")
def sections(whole_crystal_run: Path) -> dict[str, Node]:
    page = read_page(write_report(whole_crystal_run).read_text(encoding="utf-8"))
    return {node.attributes["id"]: node for node in page.find("section")}


def test_the_interval_of_a_share_is_wilsons() -> None:
    """Both ends solve (p - share)² = z² p (1 - p) / n, z being the 97.5 % point of a normal."""
    matched = np.array([1.0] * 38 + [0.0] * 2 + [np.nan] * 5)
    share = match_share(matched)
    assert share is not None
    assert share.mean == pytest.approx(95)
    for end in (share.low / 100, share.high / 100):
        assert (end - 0.95) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 40, rel=1e-4)
    assert share.low < 95 < share.high
    assert match_share(matched[40:]) is None


def test_the_periodic_table_has_its_usual_shape() -> None:
    places = {symbol: place_in_table(z) for z, symbol in enumerate(SYMBOLS) if z}
    assert len(set(places.values())) == len(places) == 118
    for symbol, place in {
        "H": (0, 0), "He": (0, 17), "Li": (1, 0), "B": (1, 12), "Ne": (1, 17), "Al": (2, 12),
        "Sc": (3, 2), "Kr": (3, 17), "Cs": (5, 0), "La": (7, 2), "Lu": (7, 16), "Hf": (5, 3),
        "Rn": (5, 17), "Ac": (8, 2), "Lr": (8, 16), "Rf": (6, 3), "Og": (6, 17),
    }.items():  # fmt: skip
        assert places[symbol] == place, symbol


def test_accuracy_of_elements(whole_crystal_run: Path, sections: dict[str, Node]) -> None:
    true = open_store(whole_crystal_run / "originals.crystals").species
    found = open_store(whole_crystal_run / "reconstructed.crystals").species
    texts = [text.own_text() for text in sections["elements"].find("svg")[0].find("text")]
    for number in np.unique(true):
        own = true == number
        # A cell of the table: symbol, number of atoms, per cent.
        _, atoms, share = texts[texts.index(SYMBOLS[number]) :][:3]
        assert int(atoms.replace(",", "")) == own.sum()
        assert float(share) == pytest.approx(100 * (found[own] == number).mean(), abs=0.051)


def test_parity_is_of_dots_or_of_cells(
    whole_crystal_run: Path, sections: dict[str, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "a dot each" in sections["cells"].text()
    assert "one crystal" not in sections["cells"].find("svg")[0].text()
    monkeypatch.setattr(import_module("variolite.crystals.report.crystal_page"), "FEW", 299)
    page = read_page(crystal_page(read_run(RunFolder(whole_crystal_run))))
    cells = next(node for node in page.find("section") if node.attributes["id"] == "cells")
    assert "one crystal" in cells.text()
    assert "counts per square" in cells.text()


def test_medians_over_the_histograms(whole_crystal_run: Path, sections: dict[str, Node]) -> None:
    lettered = [text.own_text() for text in sections["errors"].find("svg")[0].find("text")]
    table = pl.read_parquet(whole_crystal_run / "held_out.parquet")
    for column, unit in (
        ("length_error_percent", " %"),
        ("angle_error_deg", "°"),
        ("volume_error_percent", " %"),
    ):
        middle, high = np.quantile(table[column], [0.5, 0.95])
        said = f"median {significant(middle, 2)}{unit}, 95 % below {significant(high, 2)}{unit}"
        assert said in lettered


def test_periodic_errors_of_atoms(whole_crystal_run: Path) -> None:
    run = CrystalRun.of(read_run(RunFolder(whole_crystal_run)))
    assert run.pairs is not None
    assert run.pairs.errors is not None
    owner, distances = run.pairs.originals.owner, run.pairs.errors.distances
    medians = np.array([np.median(distances[owner == i]) for i in range(len(run.pairs))])
    simple = pl.read_parquet(whole_crystal_run / "held_out.parquet")["periodic_error"].to_numpy()
    # The table of the synthetic run removes the circular mean, which is best for small errors.
    small = simple < 0.1
    assert small.sum() > 200
    assert medians[small] == pytest.approx(simple[small], abs=0.02)


def test_groups_cover_all_crystals(sections: dict[str, Node]) -> None:
    for figure in sections["errors"].find("figure")[1:]:
        counts = [
            int(match.group(1).replace(",", ""))
            for text in figure.find("text")
            if (match := re.search(r"\(([\d,]+)\)$", text.own_text()))
        ]
        assert sum(counts) == 300


def test_a_family_keeps_its_colour() -> None:
    one = Colouring.by_family(np.array(["oxide", "halide", "oxide"]))
    other = Colouring.by_family(np.array(["halide", "halide", "elemental", "oxide"]))
    assert one.names == ["oxide", "halide"]
    assert one.codes.tolist() == [0, 1, 0]
    assert other.names == ["halide", "oxide", "elemental"]
    assert one.colours == [other.colours[1], other.colours[0]]
    assert len({*one.colours, *other.colours}) == 3


def test_examples_are_chosen_by_error_and_size(
    whole_crystal_run: Path, sections: dict[str, Node]
) -> None:
    options = [option.text() for option in sections["structures"].find("option")]
    assert 8 <= len(options) <= 12
    pairs = CrystalRun.of(read_run(RunFolder(whole_crystal_run))).pairs
    assert pairs is not None
    assert pairs.errors is not None
    order = np.argsort(pairs.errors.medians, kind="stable")
    telling = order[pairs.originals.counts[order] >= 3]
    ordered = [chemical(formula) for formula in pairs.formulas[telling].tolist()]
    assert options[0] == f"median error: {ordered[round(0.5 * (len(ordered) - 1))]}"
    assert options[1] == f"least error: {ordered[0]}"
    assert f"largest error: {ordered[-1]}" in options
    for figure in sections["structures"].find("figure"):
        assert len([g for g in figure.find("g") if "data-view" in g.attributes]) == 2


def test_gallery_shows_twelve_of_the_samples(sections: dict[str, Node]) -> None:
    views = [
        node
        for figure in sections["samples"].find("figure")
        for node in figure.find("g")
        if "data-view" in node.attributes
    ]
    assert len(views) == 12
