"""What a run is scored on, what counts as a failure, and what is written."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr
from tiny_runs import TABULAR

from variolite.crystals import score_run
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files.store import open_store
from variolite.errors import DataError, ModelFileError, RunFolderError
from variolite.scoring import Scorecard
from variolite.training import RunFolder


@pytest.fixture(scope="module")
def scored(run, tmp_path_factory):
    """A copy of the run, scored on its own data with baselines and samples."""
    place = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(run.folder.path, place)
    folder = RunFolder(place)
    return folder, score_run.score_crystal_run(folder, run.crystals, samples=3, workers=0)


@pytest.fixture
def copied(run, tmp_path):
    shutil.copytree(run.folder.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def _value(card, metric, method="vae"):
    return next(r.mean for r in card.rows if r.metric == metric and r.method == method)


def test_which_structures_a_run_is_scored_on(run, copied, monkeypatch):
    split, formulas = run.folder.split(), reduced_formulas(run.crystals)
    # Of its own data the test groups, and no other.
    true, notes = score_run.structures_to_score(run.folder, run.model, run.crystals)
    assert set(reduced_formulas(true)) == set(split.test)
    assert (len(true), notes) == (np.isin(formulas, split.test).sum(), [])
    # Other data whole, and shared formulas are counted.
    true, (note,) = score_run.structures_to_score(
        run.folder, run.model, run.crystals.take(slice(0, 30))
    )
    shared = np.isin(formulas[:30], [*split.train, *split.validation]).sum()
    assert len(true) == 30
    assert note.startswith(f"{shared} of 30 structures have a formula that a structure of training")
    assert shared > 0
    # Without a test part, and without a split.
    everything = replace(split, train=(*split.train, *split.test), test=())
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "split", lambda _: everything)
        with pytest.raises(DataError, match="trained on all of these structures"):
            score_run.structures_to_score(copied, run.model, run.crystals)
    # A split that was changed after training.
    copied.write_json(copied.split_file, everything.to_dict())
    copied.manifest_file.unlink()  # which would tell that it was changed
    with pytest.raises(RunFolderError, match="the split is not the one"):
        score_run.structures_to_score(copied, run.model, run.crystals)
    copied.split_file.unlink()
    true, (note,) = score_run.structures_to_score(copied, run.model, run.crystals)
    assert len(true) == len(run.crystals)
    assert "keeps no list of its training structures" in note


def test_elements_that_the_model_lacks_are_failures_and_stop_nothing(run, copied):
    crystals = run.known.take(slice(0, 10))
    crystals.species[crystals.offsets[[4, 9]]] = 92
    found, failures = score_run.reconstruct_or_fail(run.model, crystals)
    assert failures == 2
    assert np.isnan(found.lattices).all(axis=(1, 2)).nonzero()[0].tolist() == [4, 9]
    fine = np.setdiff1d(np.arange(len(crystals)), [4, 9])
    expected = run.model.reconstruct(crystals.take(fine))
    np.testing.assert_array_equal(found.take(fine).lattices, expected.lattices)
    np.testing.assert_array_equal(found.take(fine).species, expected.species)
    np.testing.assert_array_equal(found.offsets, crystals.offsets)
    strange = crystals.take([4, 9])
    card = score_run.score_crystal_run(copied, strange, workers=0, baselines=False)
    assert _value(card, "match_rate_cdvae_rms_unreduced") == 0.0
    assert any("2 structures hold an element the model lacks" in note for note in card.notes)


def test_what_scoring_writes(run, scored):
    folder, card = scored
    true, _ = score_run.structures_to_score(folder, run.model, run.crystals)
    assert Scorecard.read(folder.scorecard_file).to_json() == card.to_json()
    table = pl.read_parquet(folder.held_out_file)
    assert table["name"].to_list() == true.names.tolist()
    columns = {"pc1", "pc2", "periodic_error", "matched_strict", "chemical_family"}
    assert columns <= set(table.columns)
    originals = open_store(folder.path / "originals.crystals")
    rebuilt = open_store(folder.path / "reconstructed.crystals")
    known = true.take(true.made_of(run.model.elements))
    assert originals.names.tolist() == rebuilt.names.tolist() == known.names.tolist()
    np.testing.assert_array_equal(originals.coordinates, known.coordinates)
    np.testing.assert_allclose(rebuilt.lattices, run.model.reconstruct(known).lattices)
    assert len(open_store(folder.path / "samples.crystals")) == 3
    failed = table["type_accuracy"].is_null() | table["periodic_error"].is_null()
    assert failed.sum() == len(table) - len(originals)
    rate = _value(card, "match_rate_cdvae_rms_unreduced")
    assert rate == pytest.approx(table["matched_cdvae"].mean())
    # The model itself is left as it was.
    for name in ("model.json", "weights.safetensors"):
        mine, theirs = (f.model_folder / name for f in (folder, run.folder))
        assert mine.read_bytes() == theirs.read_bytes()


def test_baselines_stand_beside_and_say_what_they_were_given(run, scored):
    _, card = scored
    methods = {row.method for row in card.rows if row.task == "reconstruction"}
    assert methods == {"vae", "random_coordinates", "fixed_template", "nearest_template"}
    given = "match_rate_cdvae_rms_unreduced_given_species_lattice"
    assert 0.0 <= _value(card, given, "random_coordinates") <= 1.0
    formulas = len(run.folder.split().test)
    row = next(r for r in card.rows if r.metric == "match_rate_strict_rms_unreduced")
    assert row.n_groups == formulas
    assert row.low <= row.mean <= row.high
    assert {row.task for row in card.rows} >= {"reconstruction", "generation"}
    text = score_run.format_crystal_scorecard(card)
    assert "nearest_template" in text
    assert f"{formulas} formulas" in text
    assert "given species, lattice" in text


def test_samples_that_are_asked_for_are_scored_by_the_independent_head(run):
    asked = []

    def sample(number, sampling):
        asked.append(float(sampling.where["energy"]))
        return SimpleNamespace(crystals=run.known.take(slice(0, number)))

    def predict(crystals, species):
        # By turns what was asked for, and the opposite of the mean.
        values = np.repeat(asked, 4)
        values[::2] = 3.0
        return SimpleNamespace(values=values[:, None])

    head = SimpleNamespace(about=SimpleNamespace(names=("energy",)), predict=predict)
    selection = SimpleNamespace(independent=head, range_of=lambda name: (-9.0, 1.0, 6.0, 9.0))
    model = SimpleNamespace(selection=selection, sample=sample, encode=lambda crystals: crystals)
    card = score_run._obedience(model, 24, 0, lambda _: None)
    assert asked == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    (row,) = card.rows
    values = np.repeat(asked, 4)
    halved = np.where(np.arange(24) % 2 == 0, 3.0, values)
    assert row.metric == "spearman_asked_energy"
    assert row.mean == pytest.approx(spearmanr(values, halved)[0])
    assert row.low <= row.mean <= row.high
    (note,) = card.notes
    assert "6 values asked for, from 1 to 6" in note
    assert "of 4 samples each; it chose nothing" in note
    assert score_run._obedience(run.model, 24, 0, lambda _: None).rows == ()


def test_new_samples_need_the_structures_trained_on(run, copied):
    other = run.known.take(slice(0, 5))
    with pytest.raises(DataError, match=r"--samples.*Give those with --train"):
        score_run.score_crystal_run(copied, other, samples=2, baselines=False, workers=0)
    assert not copied.scorecard_file.exists()
    asked = {"train": run.crystals, "samples": 2, "baselines": False, "workers": 0}
    card, again = (score_run.score_crystal_run(copied, other, **asked) for _ in range(2))
    assert {row.method for row in card.select(task="reconstruction")} == {"vae"}
    assert card.to_json() == again.to_json()


def test_runs_that_cannot_be_scored(run, tmp_path):
    shutil.copytree(TABULAR, tmp_path / "tabular" / "model")
    with pytest.raises(ModelFileError, match="not a crystal model"):
        score_run.score_crystal_run(RunFolder(tmp_path / "tabular"), run.crystals)
    with pytest.raises(RunFolderError, match="no run here"):
        score_run.score_crystal_run(RunFolder(tmp_path), run.crystals)
    with pytest.raises(RunFolderError, match="no run here"):
        RunFolder(tmp_path).model()
