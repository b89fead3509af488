import numpy as np
import polars as pl
import pytest
from crystal_sets import broken, rewritten, shaken

from variolite.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation import (
    BASELINE,
    Hull,
    format_generation,
    score_generation,
)
from variolite.crystals.evaluation.hull import fractions_of_formula
from variolite.crystals.evaluation.stability import element_fractions
from variolite.crystals.files.textbook import textbook_crystals
from variolite.errors import DataError
from variolite.scoring import Bootstrap, Scorecard

TEXTBOOK = textbook_crystals()
PLAN = Bootstrap(resamples=60)
GROUND = np.random.default_rng(0).normal(-4.0, 1.0, size=119)


def formation(crystals: Crystals) -> np.ndarray:
    """A made-up law: compounds are bound, denser packing more so."""
    fractions = element_fractions(crystals)
    mixed = 1.0 - (fractions**2).sum(axis=1)
    return -2.0 * mixed + 0.002 * (crystals.volumes / crystals.counts - 15.0)


def energies(crystals: Crystals) -> np.ndarray:
    found = formation(crystals) + element_fractions(crystals) @ GROUND
    return np.where(crystals.names == "lost", np.nan, found)


def known() -> Crystals:
    crystals = Crystals.concatenate([TEXTBOOK, shaken_copies(0.4)])
    return Crystals(
        crystals.species,
        crystals.coordinates,
        crystals.lattices,
        crystals.offsets,
        crystals.names,
        {"formation_energy_per_atom": formation(crystals)},
    )


def shaken_copies(size: float) -> Crystals:
    return Crystals.of([shaken(crystal, seed, size) for seed, crystal in enumerate(TEXTBOOK)])


def samples() -> Crystals:
    bad, _ = broken()
    repeats = [rewritten(TEXTBOOK[place], place) for place in (5, 20, 20)]
    new = TEXTBOOK[59]
    hot = type(new)(new.species, new.coordinates, new.lattice * 1.3, "wide")
    return Crystals.concatenate([Crystals.of([*repeats, hot]), bad.take(slice(1, 6))])


def test_counts_are_exact_and_shares_are_of_what_was_asked():
    scores = score_generation(samples(), known(), unreadable=3, bootstrap=PLAN)
    assert scores["asked"].mean == 12
    assert scores["unreadable"].mean == 3
    assert scores["distance_valid"].mean == pytest.approx(4 / 12)
    assert scores["distance_valid"].n_groups == 3 + len(set(scores.structures["formula"]))
    # The broken crystals of sodium chloride are neutral; the empty one has no composition.
    assert scores["valid"].mean == pytest.approx(4 / 12)
    assert scores["unique"].mean == pytest.approx(3 / 4)
    assert scores["novel"].mean == 0.0
    assert scores["valid_unique_novel"].mean == 0.0
    table = scores.structures
    assert table["distance_valid"].to_list() == [True] * 4 + [False] * 5
    assert table["unique"].to_list() == [True, True, False, True] + [None] * 5
    assert table["repeats"].to_list()[2] == f"{TEXTBOOK.names[20]}*"
    assert table["known_as"].to_list()[:2] == [TEXTBOOK.names[5], TEXTBOOK.names[20]]
    assert table["shortest_distance"].null_count() == 5


def test_notes_say_what_the_numbers_rest_on():
    scores = score_generation(samples(), known(), unreadable=3, bootstrap=PLAN)
    notes = " | ".join(scores.notes)
    assert "WARNING: 12 samples are few" in notes
    assert "12 structures were asked about: 3 could not be read, 5 are not valid" in notes
    assert "SMACT 4" in notes
    assert "not comparable with published COV" in notes
    assert "put aside by formula" in notes
    assert "no test set" not in " | ".join(
        score_generation(samples(), known(), test=TEXTBOOK, bootstrap=PLAN).notes
    )


def test_rows_of_a_scorecard_carry_the_definitions():
    scores = score_generation(samples(), known(), test=TEXTBOOK, bootstrap=PLAN)
    card = scores.card("vae", "test")
    assert Scorecard.from_json(card.to_json()).notes == card.notes
    assert {row.task for row in card.rows} == {"generation"}
    assert {row.method for row in card.rows} == {"vae", BASELINE}
    (mine,) = card.select(method="vae", metric="coverage_recall")
    (base,) = card.select(method=BASELINE, metric="coverage_recall")
    assert mine.mean < base.mean
    assert mine.unit == "share"
    assert any(
        note.startswith("coverage_recall: Share of the test crystals") for note in card.notes
    )
    text = format_generation(card)
    lines = text.splitlines()
    assert lines[1].split() == ["quantity", "unit", "vae", BASELINE]
    assert max(map(len, lines)) <= 101
    assert text.index("notes") < text.index("definitions")
    with pytest.raises(DataError, match="there is no quantity 'match'"):
        scores["match"]


def test_a_draw_from_the_reference_stands_beside_the_samples():
    halves = np.arange(len(TEXTBOOK)) % 2 == 0
    scores = score_generation(
        TEXTBOOK.take(halves), known().take(slice(0, 78)), test=TEXTBOOK, bootstrap=PLAN
    )
    drawn = {row.metric: row for row in scores.baseline}
    formulas = reduced_formulas(TEXTBOOK)
    assert drawn["composition_valid"].n_groups == len(np.unique(formulas))
    assert drawn["coverage_recall"].n_groups == len(np.unique(formulas))
    assert drawn["density_wasserstein"].n_groups <= halves.sum()
    # The reference is the test set here: every crystal drawn from it is covered.
    assert drawn["coverage_precision"].mean == 1.0
    assert "unique" not in drawn
    assert "novel" not in drawn


def hull() -> Hull:
    formulas = ["NaCl", "Na", "Cl", "TiO2", "Ti", "O", "Pb", "K"]
    shares = np.stack([fractions_of_formula(formula) for formula in formulas])
    energy = -2.0 * (1.0 - (shares**2).sum(axis=1))
    return Hull(np.array(formulas), shares, energy)


def test_stable_means_not_above_the_hull_of_the_others():
    pool = samples()
    scores = score_generation(
        pool, known(), test=TEXTBOOK, energies=energies, hull=hull(), bootstrap=PLAN
    )
    table = scores.structures
    exact = formation(pool.take(slice(0, 4)))
    found = table["formation_energy_per_atom"].to_numpy()[:4]
    # Lead, lithium fluoride twice, a widened anatase.
    assert found[3] == pytest.approx(exact[3], abs=0.02)
    above = table["e_above_hull"].to_list()
    # No known phase holds lithium or fluorine.
    assert above[1] is None
    assert "no known phase of the elements F, Li" in " | ".join(scores.notes)
    judged = [value for value in above if value is not None]
    assert scores["stable"].mean == pytest.approx(sum(v <= 0 for v in judged) / 9)
    assert scores["metastable"].mean == pytest.approx(sum(v <= 0.1 for v in judged) / 9)
    assert scores["sun"].mean == 0.0
    assert "left out of a fit by its composition" in " | ".join(scores.notes)


def test_relaxed_samples_are_evaluated_again():
    def relax(crystals: Crystals) -> Crystals:
        lattices = crystals.lattices.copy()
        lattices[crystals.names == "wide"] /= 1.3
        coordinates = crystals.coordinates.copy()
        coordinates[crystals.owner == 0] = np.nan
        return Crystals(crystals.species, coordinates, lattices, crystals.offsets, crystals.names)

    scores = score_generation(
        samples(),
        known(),
        test=TEXTBOOK,
        energies=energies,
        hull=hull(),
        relax=relax,
        bootstrap=PLAN,
    )
    table = scores.structures
    assert table["e_above_hull_relaxed"].to_list()[0] is None
    lowered = table["e_above_hull"].to_list()[3] - table["e_above_hull_relaxed"].to_list()[3]
    assert lowered > 0.01
    assert "3 of 4 valid samples came out of the relaxation" in " | ".join(scores.notes)
    assert "sun_relaxed" in scores.definitions


def test_an_energy_that_fails_is_counted_and_never_stable():
    pool = samples()
    names = pool.names.astype("<U40")
    names[3] = "lost"
    pool = Crystals(pool.species, pool.coordinates, pool.lattices, pool.offsets, names)
    scores = score_generation(
        pool, known(), test=TEXTBOOK, energies=energies, hull=hull(), bootstrap=PLAN
    )
    assert scores.structures["e_above_hull"].to_list()[3] is None
    assert "1 without an energy" in " | ".join(scores.notes)


def test_mistakes_are_one_sentence():
    some = TEXTBOOK.take(slice(0, 5))
    with pytest.raises(DataError, match="no structures to score"):
        score_generation(some.take(slice(0, 0)), TEXTBOOK)
    with pytest.raises(DataError, match="reference: no structure is valid by distance"):
        score_generation(some, broken()[0].take(slice(1, 4)))
    with pytest.raises(DataError, match="both the energies of a potential and a hull"):
        score_generation(some, TEXTBOOK, hull=hull())
    with pytest.raises(DataError, match="no column of numbers formation_energy_per_atom"):
        score_generation(some, TEXTBOOK, test=TEXTBOOK, energies=energies, hull=hull())
    with pytest.raises(DataError, match="one structure cannot be split into halves"):
        score_generation(some, some.take(slice(0, 1)))


def test_nothing_valid_is_still_an_answer():
    bad, _ = broken()
    scores = score_generation(bad.take(slice(1, 6)), known(), bootstrap=PLAN)
    assert scores["distance_valid"].mean == 0.0
    assert np.isnan(scores["unique"].mean)
    assert scores["coverage_recall"].mean == 0.0
    assert np.isnan(scores["density_wasserstein"].mean)
    assert "density_wasserstein" in format_generation(scores.card())


def test_one_formula_can_be_split_too():
    carbon = TEXTBOOK.names.tolist().index("C (diamond)")
    many = Crystals.of([shaken(TEXTBOOK[carbon], seed, 0.3) for seed in range(12)])
    scores = score_generation(many, many, bootstrap=PLAN)
    assert "put aside at random" in " | ".join(scores.notes)
    assert np.isnan(scores["novel"].low)  # One formula: nothing to resample.
    assert isinstance(scores.structures, pl.DataFrame)
