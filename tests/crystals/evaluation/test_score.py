from dataclasses import replace

import numpy as np
import pytest
from crystal_sets import NAMES, TEXTBOOK, broken, rewritten, shaken, shaken_textbook
from scipy.stats import rankdata, spearmanr

from variolite.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation import BASELINE, Hull, format_generation, score_generation
from variolite.crystals.evaluation.fingerprints import element_fractions
from variolite.crystals.evaluation.hull import fractions_of_formula
from variolite.crystals.evaluation.metrics import weighted_spearman
from variolite.errors import DataError
from variolite.scoring import Scorecard

GROUND = np.random.default_rng(0).normal(-4.0, 1.0, size=119)


def formation(crystals):
    """A made-up law: compounds are bound, denser packing more so."""
    mixed = 1.0 - (element_fractions(crystals) ** 2).sum(axis=1)
    return -2.0 * mixed + 0.002 * (crystals.volumes / crystals.counts - 15.0)


def energies(crystals):
    found = formation(crystals) + element_fractions(crystals) @ GROUND
    return np.where(crystals.names == "lost", np.nan, found)


def hull():
    formulas = ["NaCl", "Na", "Cl", "TiO2", "Ti", "O", "Pb", "K"]
    shares = np.stack([fractions_of_formula(formula) for formula in formulas])
    return Hull(np.array(formulas), shares, -2.0 * (1.0 - (shares**2).sum(axis=1)))


def known():
    crystals = Crystals.concatenate([TEXTBOOK, shaken_textbook(0.4)])
    return replace(crystals, properties={"formation_energy_per_atom": formation(crystals)})


def samples():
    """Lead without an energy, lithium fluoride twice, a widened anatase, and five broken ones."""
    lost, *repeats = (rewritten(TEXTBOOK[place], place) for place in (5, 20, 20))
    wide = replace(TEXTBOOK[59], lattice=TEXTBOOK[59].lattice * 1.3, name="wide")
    valid = Crystals.of([replace(lost, name="lost"), *repeats, wide])
    return Crystals.concatenate([valid, broken()[0].take(slice(1, 6))])


def relax(crystals):
    """Narrow the widened one again, and lose the first."""
    lattices, coordinates = crystals.lattices.copy(), crystals.coordinates.copy()
    lattices[crystals.names == "wide"] /= 1.3
    coordinates[crystals.owner == 0] = np.nan
    return replace(crystals, coordinates=coordinates, lattices=lattices)


def by_metric(scores):
    return {row.metric: row for row in scores.samples}


@pytest.fixture(scope="module")
def halves():
    """Scores against two halves of the known crystals."""
    return score_generation(samples(), known(), unreadable=3)


@pytest.fixture(scope="module")
def relaxed():
    """Scores with stability, before and after relaxation."""
    more = {"test": TEXTBOOK, "energies": energies, "hull": hull(), "relax": relax}
    return score_generation(samples(), known(), **more)


@pytest.fixture(scope="module")
def beside():
    """Scores by a named potential, with baselines beside them."""
    more = {"test": TEXTBOOK, "energies": energies, "hull": hull(), "potential": "LAW 1"}
    return score_generation(samples(), known(), unreadable=2, baselines=True, **more)


def test_counts_are_exact_and_shares_are_of_what_was_asked(halves):
    scores, table = by_metric(halves), halves.structures
    assert scores["asked"].mean == 12
    assert scores["unreadable"].mean == 3
    assert scores["distance_valid"].mean == pytest.approx(4 / 12)
    assert scores["distance_valid"].n_groups == 3 + len(set(table["formula"]))
    # The broken crystals of sodium chloride are neutral; the empty one has no composition.
    assert scores["valid"].mean == pytest.approx(4 / 12)
    assert scores["unique"].mean == pytest.approx(3 / 4)
    assert scores["novel"].mean == 0.0
    assert scores["valid_unique_novel"].mean == 0.0
    assert table["distance_valid"].to_list() == [True] * 4 + [False] * 5
    assert table["unique"].to_list() == [True, True, False, True] + [None] * 5
    assert table["repeats"].to_list()[2] == f"{NAMES[20]}*"
    assert table["known_as"].to_list()[:2] == [NAMES[5], NAMES[20]]
    assert table["shortest_distance"].null_count() == 5


def test_notes_say_what_the_numbers_rest_on(halves, relaxed):
    notes = " | ".join(halves.notes)
    assert "12 structures were requested: 3 could not be read, 5 are not valid" in notes
    for part in ("WARNING: 12 samples are few", "SMACT 4", "put aside by formula"):
        assert part in notes
    assert "not comparable with published COV" in notes
    assert "no test set" not in " | ".join(relaxed.notes)


def test_rows_of_a_scorecard_carry_the_definitions(relaxed):
    card = relaxed.card("vae", "test")
    assert Scorecard.from_json(card.to_json()).notes == card.notes
    assert {row.task for row in card.rows} == {"generation"}
    assert {row.method for row in card.rows} == {"vae", BASELINE}
    (mine,) = card.select(method="vae", metric="coverage_recall")
    (base,) = card.select(method=BASELINE, metric="coverage_recall")
    assert mine.mean < base.mean
    assert mine.unit == "share"
    for start in ("coverage_recall: Share of the test crystals", "sun_relaxed: S.U.N."):
        assert any(note.startswith(start) for note in card.notes)
    text = format_generation(card)
    lines = text.splitlines()
    assert lines[1].split() == ["quantity", "unit", "vae", BASELINE]
    assert max(map(len, lines)) <= 101
    assert text.index("notes") < text.index("definitions")


def test_a_draw_from_the_reference_stands_beside_the_samples():
    half = np.arange(len(TEXTBOOK)) % 2 == 0
    scores = score_generation(TEXTBOOK.take(half), known().take(slice(0, 78)), test=TEXTBOOK)
    drawn = {row.metric: row for row in scores.baseline}
    formulas = len(np.unique(reduced_formulas(TEXTBOOK)))
    assert drawn["composition_valid"].n_groups == drawn["coverage_recall"].n_groups == formulas
    assert drawn["density_wasserstein"].n_groups <= half.sum()
    # The reference is the test set here: every crystal drawn from it is covered.
    assert drawn["coverage_precision"].mean == 1.0
    assert not {"unique", "novel"} & set(drawn)


def test_stable_means_not_above_the_hull_of_the_others(relaxed):
    scores, table, notes = by_metric(relaxed), relaxed.structures, " | ".join(relaxed.notes)
    found = table["formation_energy_per_atom"].to_list()
    assert found[3] == pytest.approx(formation(samples().take(slice(3, 4)))[0], abs=0.02)
    above = table["e_above_hull"].to_list()
    # An energy that fails is never stable, and no known phase holds lithium or fluorine.
    assert above[:2] == [None, None]
    assert "1 without an energy" in notes
    assert "no known phase of the elements F, Li" in notes
    evaluated = np.array([value for value in above if value is not None])
    assert scores["stable"].mean == pytest.approx((evaluated <= 0).sum() / 9)
    assert scores["metastable"].mean == pytest.approx((evaluated <= 0.1).sum() / 9)
    assert scores["sun"].mean == 0.0
    assert "left out of a fit by its composition" in notes
    after = table["e_above_hull_relaxed"].to_list()
    assert after[0] is None
    assert above[3] - after[3] > 0.01
    assert "3 of 4 valid samples came out of the relaxation" in notes
    assert "sun_relaxed" in scores


def test_the_potential_stands_in_every_figure_that_needs_energies(beside, relaxed):
    named = {row.metric for row in beside.samples if row.metric.endswith(" (LAW 1)")}
    stems = ("e_above_hull_median", "stable", "metastable", "sun", "msun")
    assert named == {f"{stem} (LAW 1)" for stem in stems}
    bare, full = by_metric(relaxed), by_metric(beside)
    assert full["e_above_hull_median (LAW 1)"].mean == bare["e_above_hull_median"].mean
    assert set(beside.structures["potential"]) == {"LAW 1"}
    card = beside.card()
    (note,) = (text for text in card.notes if text.startswith("sun (LAW 1): "))
    assert note.endswith("(samples as they are; energies by LAW 1)")
    text = format_generation(card)
    assert any(line.startswith("  msun (LAW 1)") for line in text.splitlines())
    assert text.index("definitions") < text.index("sun (LAW 1): ")


def test_baselines_without_learning_stand_beside_in_equal_number(beside):
    assert set(beside.beside) == {"ion_exchange", "random_decoration"}
    card = beside.card("vae", "test")
    for method in beside.beside:
        rows = {row.metric: row for row in card.select(method=method)}
        assert set(rows) == {row.metric for row in beside.samples}
        # Two of the eleven that were asked for could not be read; the baselines get all of them.
        assert rows["asked"].mean == by_metric(beside)["asked"].mean == 11
        assert any(note.startswith(f"{method}: known crystals") for note in card.notes)
        assert any(note.startswith(f"{method}, stability: ") for note in card.notes)


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlations_are_those_of_scipy(seed):
    random = np.random.default_rng(seed)
    first, second = random.integers(4, size=40).astype(float), random.normal(size=40)
    weights = np.stack([np.full(40, 1 / 40), random.dirichlet(np.ones(40))])
    even, odd = weighted_spearman(first, second)(weights)
    assert even == pytest.approx(spearmanr(first, second)[0])
    a, b = rankdata(first), rankdata(second)
    covariance = np.cov(a, b, aweights=weights[1])
    assert odd == pytest.approx(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def test_mistakes_are_one_sentence():
    none, one, five = (TEXTBOOK.take(slice(0, count)) for count in (0, 1, 5))
    stable = {"test": TEXTBOOK, "energies": energies, "hull": hull()}
    for pool, reference, more, message in (
        (none, TEXTBOOK, {}, "no structures to score"),
        (TEXTBOOK, broken()[0].take(slice(1, 4)), {}, "reference: no structure is valid by dist"),
        (TEXTBOOK, TEXTBOOK, {"hull": hull()}, "both the energies of a potential and a hull"),
        (five, TEXTBOOK, stable, "no column of numbers formation_energy_per_atom"),
        (five, one, {}, "cannot be split into halves"),
    ):
        steps: list[str] = []
        with pytest.raises(DataError, match=message):
            score_generation(pool, reference, log=steps.append, **more)
        # Only what cannot be known before is found later.
        assert bool(steps) is ("halves" in message)


def test_nothing_valid_is_still_an_answer():
    found = score_generation(broken()[0].take(slice(1, 6)), known())
    scores = by_metric(found)
    assert scores["distance_valid"].mean == 0.0
    assert np.isnan(scores["unique"].mean)
    assert scores["coverage_recall"].mean == 0.0
    assert np.isnan(scores["density_wasserstein"].mean)
    assert "density_wasserstein" in format_generation(found.card())
    # One formula can be split too.
    diamond = TEXTBOOK[NAMES.index("C (diamond)")]
    many = Crystals.of([shaken(diamond, seed, 0.3) for seed in range(12)])
    scores = score_generation(many, many)
    assert "put aside at random" in " | ".join(scores.notes)
    assert np.isnan(by_metric(scores)["novel"].low)  # One formula: nothing to resample.
