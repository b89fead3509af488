"""Scores of reconstructions: closed forms, failures, names, intervals."""

from dataclasses import replace

import numpy as np
import pytest
from matching_sets import noisy, strained, textbook

from variolite.crystals.crystals import Crystal, Crystals, Latents
from variolite.crystals.matching import CDVAE, SETTINGS, STRICT, Setting, match_pairs, score_pairs
from variolite.crystals.matching import reconstruction as rec
from variolite.crystals.matching.baselines import random_coordinates
from variolite.crystals.matching.scores import SYMPRECS
from variolite.errors import DataError
from variolite.scoring import Bootstrap, Scorecard, paired_difference

TRUE = textbook(5).take(slice(None, None, 2))
FEW = Bootstrap(resamples=200)
UNREDUCED = (Setting(CDVAE), Setting(STRICT))
SIMPLE = {"settings": UNREDUCED, "symprecs": (), "workers": 0}


def scored(other, true=TRUE, **options):
    return rec.score_reconstruction(true, other, **(SIMPLE | options))


def rows_of(*scores):
    return rec.reconstruction_rows(scores, method="vae", split="test", bootstrap=FEW)


def means(scores):
    return {row.metric: row.mean for row in rows_of(scores)}


def test_a_perfect_reconstruction_has_perfect_scores():
    found = means(scored(TRUE, settings=SETTINGS, symprecs=SYMPRECS))
    for name, value in found.items():
        perfect = name.startswith(("match", "type", "composition", "space_group"))
        assert value == (1.0 if perfect else pytest.approx(0.0, abs=1e-5)), name


def test_values_are_those_of_the_definitions():
    other = strained(noisy(TRUE, 0.15), 0.02)
    scores = scored(other)
    found = means(scores)
    distances = scores.errors.distances
    expected = {
        "periodic_error_mean": distances.mean(),
        "periodic_error_median": np.quantile(distances, 0.5, method="inverted_cdf"),
        "periodic_error_p95": np.quantile(distances, 0.95, method="inverted_cdf"),
        "volume_error": 100 * np.abs(other.volumes / TRUE.volumes - 1).mean(),
    }
    for tolerance in (CDVAE, STRICT):
        match, name = match_pairs(other, TRUE, tolerance), tolerance.name
        corrected = np.where(match.matched, match.rms, tolerance.sites)
        expected[f"match_rate_{name}_rms_unreduced"] = match.matched.mean()
        expected[f"match_rate_{name}_fit_unreduced"] = match.fits.mean()
        expected[f"rmse_{name}_unreduced"] = np.nanmean(match.rms)
        expected[f"rmse_corrected_{name}_unreduced"] = corrected.mean()
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_lengths_angles_types_and_compositions():
    species = TRUE.species.copy()
    wrong = TRUE.offsets[:-1][::2]
    species[wrong] = np.where(species[wrong] == 6, 7, 6)
    found = means(scored(replace(TRUE, lattices=TRUE.lattices * 1.03, species=species)))
    assert found["length_error"] == pytest.approx(3.0)
    assert found["angle_error"] == pytest.approx(0.0, abs=1e-5)
    assert found["volume_error"] == pytest.approx(100 * (1.03**3 - 1))
    assert found["type_accuracy"] == pytest.approx(1 - len(wrong) / len(species))
    assert found["composition_exact"] == pytest.approx((len(TRUE) // 2) / len(TRUE))
    assert found["match_rate_cdvae_rms_unreduced"] == found["composition_exact"]


def test_failures_are_counted():
    lattices = TRUE.lattices.copy()
    lattices[0] = np.nan
    lattices[1, 0] = lattices[1, 1]
    scores = scored(replace(TRUE, lattices=lattices), given=("species",))
    assert scores.unusable.sum() == 2
    found = {name.removesuffix("_given_species"): x for name, x in means(scores).items()}
    share = 2 / len(TRUE)
    assert found["failed"] == pytest.approx(share)
    assert found["too_close"] == pytest.approx(share)
    assert found["match_rate_cdvae_rms_unreduced"] == pytest.approx(1 - share)
    corrected = found["rmse_corrected_strict_unreduced"]
    assert corrected == pytest.approx(share * STRICT.sites, abs=1e-6)
    assert np.isfinite(found["length_error"])
    # The arrays still hold the true types and coordinates: they must not count.
    assert np.isnan(scores.errors.medians[:2]).all()
    assert not scores.type_accuracy[:2].any()
    assert found["composition_exact"] == pytest.approx(1 - share)
    assert any("2 have no cell" in note for note in rec.reconstruction_notes(scores))


def test_what_cannot_be_scored_is_refused():
    lattices = TRUE.lattices.copy()
    lattices[3] = 0.0
    none = TRUE.take(slice(0, 0))
    for true, other, message in (
        (replace(TRUE, lattices=lattices), TRUE, "no cell"),
        (TRUE, TRUE.take(slice(0, 3)), "reconstructed from"),
        (none, none, "no crystal"),
    ):
        with pytest.raises(DataError, match=message):
            scored(other, true)


def test_every_metric_says_what_it_means_and_what_was_given():
    scores = scored(noisy(TRUE, 0.1), given=("species", "lattice"))
    defined = {note.partition(": ")[0] for note in rec.reconstruction_notes(scores)}
    formulas = len(set(scores.formulas))
    for row in rows_of(scores):
        assert row.metric in defined
        assert row.metric.endswith("_given_species_lattice")
        assert (row.task, row.n_groups, row.seeds) == ("reconstruction", formulas, 1)
        assert Scorecard.from_json(Scorecard((row,)).to_json()).rows == (row,)
        if np.isfinite(row.mean) and row.low != row.high:
            assert row.low <= row.mean <= row.high


def test_intervals_are_over_formulas():
    # Copies of the same crystals say nothing new about other formulas.
    other = noisy(TRUE, 0.3)
    single = rows_of(scored(other))
    double = rows_of(scored(*(Crystals.concatenate([c, c]) for c in (other, TRUE))))
    ends = [[(row.mean, row.low, row.high) for row in rows] for rows in (single, double)]
    np.testing.assert_allclose(*ends, rtol=1e-9)


def test_seeds_are_averaged_and_must_belong_together():
    runs = [scored(noisy(TRUE, noise, seed)) for seed, noise in enumerate((0.05, 0.2, 0.2))]
    for row, *each in zip(rows_of(*runs), *map(rows_of, runs), strict=True):
        assert row.seeds == 3
        np.testing.assert_allclose(row.mean, np.mean([single.mean for single in each]))
    with pytest.raises(DataError, match="same crystals"):
        rows_of(runs[0], replace(runs[1], given=("species",)))
    # Two methods compare on the same formulas.
    better, worse = (rec.GroupedReconstructions([run]) for run in runs[:2])
    name = "periodic_error_median"
    difference = paired_difference(
        lambda weights: better.values(weights, [name])[name],
        lambda weights: worse.values(weights, [name])[name],
        len(better.groups),
        bootstrap=FEW,
    )
    assert difference.high < 0
    with pytest.raises(KeyError, match="no metric"):
        better.values(np.ones((1, len(better.groups))), ["no metric"])


def test_table_of_held_out_crystals():
    scores = scored(noisy(TRUE, 0.2))
    vectors = np.random.default_rng(0).normal(size=(len(TRUE.species), 5)).astype(np.float32)
    latents = Latents(vectors, None, TRUE.offsets, TRUE.names)
    table = rec.held_out_table(TRUE, scores, latents)
    assert table.columns[:3] == ["name", "formula", "chemical_family"]
    assert table.columns[-2:] == ["pc1", "pc2"]
    assert table.height == len(TRUE)
    matched = scores.pairs.matches[Setting(CDVAE)].matched
    assert (table["rms_cdvae"].is_null().to_numpy() == ~matched).all()
    gold = table.row(TRUE.names.tolist().index("Au (fcc)"), named=True)
    assert gold["density"] == pytest.approx(19.3, abs=0.1)
    _, singular, _ = np.linalg.svd(latents.pooled - latents.pooled.mean(axis=0))
    for name, value in zip(("pc1", "pc2"), singular, strict=False):
        assert np.linalg.norm(table[name].to_numpy()) == pytest.approx(value, rel=1e-5)
    assert "pc1" not in rec.held_out_table(TRUE, scores).columns
    with pytest.raises(DataError, match="latents"):
        rec.held_out_table(TRUE, scores, replace(latents, names=TRUE.names[::-1]))
    # One component is enough for a table.
    flat = replace(latents, mean=np.ones((len(TRUE.species), 1), np.float32))
    assert not rec.held_out_table(TRUE, scores, flat)["pc2"].to_numpy().any()


def test_a_pair_that_takes_too_long_is_a_failure_and_the_others_are_scored():
    places = np.random.default_rng(0).random((500, 3))
    large = Crystal(np.full(500, 6, np.uint8), places, np.eye(3) * 15.0, "large")
    small = list(TRUE.take(slice(0, 4)))
    true = Crystals.of([*small[:2], large, *small[2:]])
    other = random_coordinates(true)
    other.coordinates[: true.offsets[2]] = true.coordinates[: true.offsets[2]]
    said: list[str] = []
    found = score_pairs(other, true, settings=UNREDUCED, workers=1, limit=1.5, log=said.append)
    assert found.timed_out.tolist() == [False, False, True, False, False]
    assert not found.crashed.any()
    rest = np.array([0, 1, 3, 4])
    alone = score_pairs(other.take(rest), true.take(rest), settings=UNREDUCED, workers=0)
    for setting in UNREDUCED:
        rms = found.matches[setting].rms
        np.testing.assert_array_equal(rms[rest], alone.matches[setting].rms)
        assert np.isnan(rms[2])
    assert said[-1] == "matching one by one: 5 of 5"
