"""The page of a crystal run: whole, self-contained, legible, honest about what is absent."""

import json
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from synthetic_crystal_run import write_synthetic_crystal_run

from page_layout import HOSTILE, check_layout, check_page, read_page
from variolite.crystals import matching
from variolite.crystals.elements import SYMBOLS
from variolite.crystals.field import FIELD
from variolite.crystals.files.store import open_store, write_store
from variolite.crystals.report.crystal_figures import Groups
from variolite.crystals.report.crystal_run import CrystalRun
from variolite.errors import RunFolderError
from variolite.report.formatting import chemical, significant
from variolite.scoring.scorecard import Scorecard
from variolite.training import RunFolder
from variolite.training.run_folder import read_run

SECTIONS = {
    "scorecard", "cells", "errors", "structures", "latent-map", "elements", "samples",
    "training", "provenance",
}  # fmt: skip
ON_ATOMS = r"[A-Z][a-z]?"
"""Symbols on atoms may stand behind one another."""


def html_of(run):
    return FIELD.report(RunFolder(run)).read_text(encoding="utf-8")


def sections_of(page):
    return {node.attributes["id"]: node for node in page.find("section")}


def legible(run):
    """The sections of a page on which all lettering can be read, by anchor."""
    page = read_page(html_of(run))
    check_layout(page, SECTIONS, ON_ATOMS)
    return sections_of(page)


@pytest.fixture(scope="module")
def html(whole_crystal_run):
    return html_of(whole_crystal_run)


@pytest.fixture(scope="module")
def sections(html):
    return sections_of(read_page(html))


@pytest.fixture(scope="module")
def pairs(whole_crystal_run):
    return CrystalRun.of(read_run(RunFolder(whole_crystal_run))).pairs


def replace_store(path, **entries):
    """Write a store of crystals with some of its arrays replaced."""
    write_store(path, replace(open_store(path), **entries))


def take_of_store(path, count):
    write_store(path, open_store(path).take(slice(0, count)))


def change_table(run, change):
    table = pl.read_parquet(run / "held_out.parquet")
    change(table).write_parquet(run / "held_out.parquet")


def test_the_page_is_whole_legible_and_self_contained(html):
    check_page(html, SECTIONS, ON_ATOMS)


def test_two_thousand_crystals_stay_small_and_come_out_alike(sections, tmp_path):
    assert "a dot each" in sections["cells"].text()
    assert "one crystal" not in sections["cells"].find("svg")[0].text()
    run = write_synthetic_crystal_run(tmp_path / "run", count=2000)
    first = html_of(run)
    assert len(first) < 3_000_000
    assert html_of(run) == first
    cells = sections_of(read_page(first))["cells"]
    assert "one crystal" in cells.text()
    assert "counts per square" in cells.text()


@pytest.mark.parametrize(
    "absent",
    [
        {
            "scorecard.json": ("scorecard", "run variolite score"),
            "held_out.parquet": ("latent-map", "run variolite score"),
            "samples.crystals": ("samples", "No generated crystals"),
            "environment.json": ("provenance", "No environment.json"),
            "recipe.yaml": ("provenance", "No recipe.yaml"),
        },
        {
            "originals.crystals": ("cells", "originals.crystals"),
            "history.jsonl": ("training", "no history.jsonl"),
            "split.json": ("provenance", "No split.json"),
        },
        {
            "reconstructed.crystals": ("structures", "reconstructed.crystals"),
            "held_out.parquet": ("errors", "held_out.parquet"),
            "model/model.json": ("provenance", "no trained model"),
        },
        {"reconstructed.crystals": ("elements", "reconstructed.crystals")},
    ],
)
def test_an_absent_part_is_said_and_the_rest_is_there(crystal_run, absent):
    for part in absent:
        (crystal_run / part).unlink()
    found = sections_of(read_page(html_of(crystal_run)))
    assert found.keys() == SECTIONS
    for name, wording in absent.values():
        told = [p for p in found[name].find("p") if p.attributes.get("class") == "missing"]
        assert any(wording in paragraph.text() for paragraph in told), wording


def test_stores_alone_make_a_crystal_page(crystal_run):
    for path in [*crystal_run.glob("*.*"), crystal_run / "model" / "model.json"]:
        if path.suffix != ".crystals":
            path.unlink()
    page = read_page(html_of(crystal_run))
    assert sections_of(page).keys() == SECTIONS
    assert "has not been scored" in page.find("header")[0].text()
    assert sections_of(page)["cells"].find("svg")


@pytest.mark.parametrize(
    "name", ["originals.crystals", "reconstructed.crystals", "samples.crystals", "held_out.parquet"]
)
def test_damaged_files_are_named(crystal_run, name):
    path = crystal_run / name
    for content in (path.read_bytes()[:-100], b"", b"garbage"):
        path.write_bytes(content)
        with pytest.raises(RunFolderError, match=re.escape(name)):
            html_of(crystal_run)


def test_files_of_different_scorings_do_not_mix(crystal_run):
    originals = open_store(crystal_run / "originals.crystals")
    take_of_store(crystal_run / "reconstructed.crystals", 120)
    with pytest.raises(RunFolderError, match=r"not those of originals\.crystals"):
        html_of(crystal_run)
    write_store(crystal_run / "reconstructed.crystals", originals)
    change_table(crystal_run, lambda table: table.head(7))
    with pytest.raises(RunFolderError, match=r"lacks 293 of the 300 structures"):
        html_of(crystal_run)


def test_the_run_may_keep_a_part_of_what_was_scored(crystal_run):
    for name in ("originals.crystals", "reconstructed.crystals"):
        take_of_store(crystal_run / name, 120)
    page = read_page(html_of(crystal_run))
    found = sections_of(page)
    for name in ("cells", "structures"):
        assert "those that the run keeps of 300 scored" in found[name].text()
    assert "Of 300 held-out crystals" in page.find("header")[0].text()
    # Groups cover all crystals.
    for drawing in found["errors"].find("svg")[1:]:
        assert sum(map(int, re.findall(r"\((\d+)\)", drawing.text()))) == 300


def test_hostile_names_stay_text(crystal_run):
    for name in ("originals.crystals", "reconstructed.crystals", "samples.crystals"):
        count = len(open_store(crystal_run / name))
        replace_store(crystal_run / name, names=np.array([HOSTILE] * count))
    strange = [pl.lit(HOSTILE).alias(name) for name in ("name", "formula", "chemical_family")]
    change_table(crystal_run, lambda table: table.with_columns(strange))
    card = json.loads((crystal_run / "scorecard.json").read_text())
    card["notes"].append(HOSTILE)
    for row in card["rows"]:
        if row["task"] == "generation":
            row |= {"split": HOSTILE, "unit": HOSTILE, "metric": row["metric"] + HOSTILE}
        if row["method"] == "source":
            row["method"] = HOSTILE
    (crystal_run / "scorecard.json").write_text(json.dumps(card))
    page = read_page(html_of(crystal_run))
    check_layout(page, SECTIONS, ON_ATOMS)
    assert len(page.find("script")) == 1
    assert page.find("img") == []
    assert "alert('x')" in page.text()
    assert not any("\x07" in node.own_text() for node in page.walk())


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_hardly_any_crystals(crystal_run, tmp_path, count):
    if count:
        crystal_run = write_synthetic_crystal_run(tmp_path / "run", count=count)
    for path in crystal_run.glob("*.crystals"):
        take_of_store(path, count)
    change_table(crystal_run, lambda table: table.head(count))
    legible(crystal_run)


def test_reconstructions_that_went_wrong(crystal_run):
    path = crystal_run / "reconstructed.crystals"
    store = open_store(path)
    lattices, coordinates = np.array(store.lattices), np.array(store.coordinates)
    lattices[0] = np.nan
    lattices[1] *= 1e4
    lattices[2] = -lattices[2]
    coordinates[store.offsets[3]] = np.nan
    coordinates[store.offsets[4]] += 1e6
    replace_store(path, coordinates=coordinates, lattices=lattices)
    unknown = pl.when(pl.int_range(pl.len()) >= 4).then("periodic_error").alias("periodic_error")
    change_table(crystal_run, lambda table: table.with_columns(unknown))
    assert "have no value" in legible(crystal_run)["errors"].text()


PERCENT = "volume_error_percent length_error_percent angle_error_deg"
CHEMISTRY = "matched_strict chemical_family n_atoms formula"


@pytest.mark.parametrize("dropped", ["periodic_error pc2", CHEMISTRY, PERCENT])
def test_the_table_may_lack_columns(crystal_run, dropped):
    change_table(crystal_run, lambda table: table.drop(dropped.split()))
    legible(crystal_run)


def test_a_single_element_and_cubic_cells_are_coloured_by_volume(tmp_path):
    run = write_synthetic_crystal_run(tmp_path / "run", count=60)
    for name in ("originals.crystals", "reconstructed.crystals"):
        species = np.full_like(open_store(run / name).species, 6)
        replace_store(run / name, species=species, lattices=np.tile(3.5 * np.eye(3), (60, 1, 1)))
    change_table(run, lambda table: table.drop("chemical_family"))
    (figure,) = legible(run)["latent-map"].find("figure")
    assert "by volume per atom" in figure.text()


def test_right_types_are_not_shown_as_an_achievement(crystal_run):
    """Where all types are right, the errors of places are what a table of elements shows."""
    species = np.array(open_store(crystal_run / "originals.crystals").species)
    replace_store(crystal_run / "reconstructed.crystals", species=species)
    for given, words in ((False, "came back as the right element"), (True, "by construction")):
        model = {"kind": "variolite.crystal_vae", "architecture": {"species_given": given}}
        (crystal_run / "model" / "model.json").write_text(json.dumps(model))
        elements = sections_of(read_page(html_of(crystal_run)))["elements"]
        assert words in elements.text()
        (figure,) = elements.find("figure")
        assert figure.attributes["data-name"] == "errors-by-element"


def test_scores_of_reconstruction_are_understood(crystal_run):
    true = open_store(crystal_run / "originals.crystals").take(slice(0, 8))
    found = open_store(crystal_run / "reconstructed.crystals").take(slice(0, 8))
    given = ("species", "lattice")
    own = matching.score_reconstruction(true, found, workers=0)
    drawn = matching.random_coordinates(true)
    other = matching.score_reconstruction(true, drawn, given=given, workers=0)
    rows = matching.reconstruction_rows([own], method="vae", split="test")
    others = matching.reconstruction_rows([other], method="random_coordinates", split="test")
    card = Scorecard((*rows, *others), tuple(matching.reconstruction_notes(own)))
    card.write(crystal_run / "scorecard.json")
    page = read_page(html_of(crystal_run))
    said = page.find("header")[0].text()
    assert "within the CDVAE tolerance and" in said
    assert "random coordinates (given the atom types and the cell)" in said
    scores = sections_of(page)["scorecard"]
    assert len(scores.find("figure")) == 1
    (told,) = (fold for fold in scores.find("details") if "What these" in fold.text())
    assert len(told.find("tr")) - 1 == len({row.metric for row in rows})
    assert "match_rate" not in scores.text()
    strict = "strict: atoms within 0.1 free lengths, cell lengths within 5\u00a0%, angles within 3°"
    assert strict in scores.find("figcaption")[0].text()


def test_accuracy_of_elements(pairs, sections):
    true, found = pairs.originals.species, pairs.reconstructed.species
    texts = [text.own_text() for text in sections["elements"].find("svg")[0].find("text")]
    for number in np.unique(true):
        own = true == number
        # A cell of the table: symbol, number of atoms, per cent.
        _, atoms, share = texts[texts.index(SYMBOLS[number]) :][:3]
        assert int(atoms.replace(",", "")) == own.sum()
        assert float(share) == pytest.approx(100 * (found[own] == number).mean(), abs=0.051)


def test_medians_over_the_histograms(whole_crystal_run, sections):
    lettered = [text.own_text() for text in sections["errors"].find("svg")[0].find("text")]
    table = pl.read_parquet(whole_crystal_run / "held_out.parquet")
    for column, unit in zip(PERCENT.split(), (" %", " %", "°"), strict=True):
        middle, high = np.quantile(table[column], [0.5, 0.95])
        said = f"median {significant(middle, 2)}{unit}, 95 % below {significant(high, 2)}{unit}"
        assert said in lettered


def test_periodic_errors_of_atoms(whole_crystal_run, pairs):
    owner, distances = pairs.originals.owner, pairs.errors.distances
    medians = np.array([np.median(distances[owner == i]) for i in range(len(pairs))])
    simple = pl.read_parquet(whole_crystal_run / "held_out.parquet")["periodic_error"].to_numpy()
    # The table of the synthetic run removes the circular mean, which is best for small errors.
    small = simple < 0.1
    assert small.sum() > 200
    assert medians[small] == pytest.approx(simple[small], abs=0.02)


def test_a_family_keeps_its_colour():
    one = Groups.by_family(np.array(["oxide", "halide", "oxide"]))
    other = Groups.by_family(np.array(["halide", "halide", "elemental", "oxide"]))
    assert one.names == ["oxide", "halide"]
    assert one.labels == ["oxide (2)", "halide (1)"]
    assert one.codes.tolist() == [0, 1, 0]
    assert other.names == ["halide", "oxide", "elemental"]
    assert one.colours == [other.colours[1], other.colours[0]]
    assert len({*one.colours, *other.colours}) == 3


def test_examples_are_chosen_by_error_and_size(pairs, sections):
    options = [option.text() for option in sections["structures"].find("option")]
    assert 8 <= len(options) <= 12
    order = np.argsort(pairs.errors.medians, kind="stable")
    telling = order[pairs.originals.counts[order] >= 3]
    ordered = [chemical(formula) for formula in pairs.formulas[telling].tolist()]
    assert options[0] == f"median error: {ordered[round(0.5 * (len(ordered) - 1))]}"
    assert options[1] == f"least error: {ordered[0]}"
    assert f"largest error: {ordered[-1]}" in options
    # Two structures in each drawing, and twelve samples in all.
    for name, views in (("structures", 2 * len(options)), ("samples", 12)):
        found = [g for g in sections[name].find("g") if "data-view" in g.attributes]
        assert len(found) == views
