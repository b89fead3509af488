"""The cache of features: known by content, resumed after an interruption, damage survived."""

from dataclasses import replace

import numpy as np
import pytest

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.potential import features as features_module
from variolite.crystals.potential.features import content_hashes, foundation_features, user_cache
from variolite.crystals.potential.potential import Prediction
from variolite.errors import DataError


class Counting:
    """A potential that is quick, refuses hydrogen, and notes what it was asked."""

    name = "counting"
    version = "1"
    width = 4

    def __init__(self):
        self.asked: list[str] = []
        self.interrupt_after = 10**9

    def predict(self, crystals):
        if len(self.asked) >= self.interrupt_after:
            raise KeyboardInterrupt
        self.asked += crystals.names.tolist()
        atoms = np.repeat(crystals.species[:, None].astype(np.float32), 4, axis=1) / 3
        atoms[:, 1:] += crystals.coordinates.astype(np.float32)
        hydrogen = np.zeros(len(crystals), bool)
        hydrogen[crystals.owner[crystals.species == 1]] = True
        atoms[hydrogen[crystals.owner]] = np.nan
        reasons = np.where(hydrogen, "hydrogen", "").astype("<U64")
        return Prediction(np.where(hydrogen, np.nan, -crystals.volumes), atoms, reasons)


@pytest.fixture
def potential(monkeypatch):
    monkeypatch.setattr(features_module, "PART", 8)
    monkeypatch.setattr(features_module, "PIECE", 20)
    return Counting()


CRYSTALS = textbook_crystals()


def assert_right(found, crystals=CRYSTALS):
    expected = Counting().predict(crystals)
    rounded = expected.features.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found.energies, expected.energies)
    np.testing.assert_array_equal(found.features, rounded)
    assert found.reasons.tolist() == expected.reasons.tolist()


def test_second_time_and_for_twins_nothing_is_computed(potential, tmp_path):
    folder = tmp_path / "new"
    assert_right(foundation_features(CRYSTALS, potential))
    for _ in range(2):
        assert_right(foundation_features(CRYSTALS, potential, folder=folder))
    assert len(list((folder / "counting-1").iterdir())) == 1
    backwards = CRYSTALS.take(np.arange(len(CRYSTALS))[::-1])
    assert_right(foundation_features(backwards, potential, folder=folder), backwards)
    assert len(potential.asked) == 2 * len(CRYSTALS)
    crystals = CRYSTALS.take(np.array([4, 2, 4, 4, 7]))
    assert_right(foundation_features(crystals, potential), crystals)
    assert len(potential.asked) == 2 * len(CRYSTALS) + 3
    assert foundation_features(Crystals.of([]), potential).features.shape == (0, 4)


def test_content_and_version_count_and_not_the_name(potential, tmp_path):
    crystals = CRYSTALS.take(slice(0, 10))
    foundation_features(crystals, potential, folder=tmp_path)
    renamed = replace(crystals, names=np.array([f"other {i}" for i in range(10)]))
    foundation_features(renamed, potential, folder=tmp_path)
    assert len(potential.asked) == 10
    moved = crystals.coordinates.copy()
    moved[-1, 0] += 1e-12 if moved[-1, 0] else 1e-300
    foundation_features(replace(crystals, coordinates=moved), potential, folder=tmp_path)
    assert potential.asked[10:] == [crystals.names[-1]]
    potential.version = "2"
    foundation_features(crystals, potential, folder=tmp_path)
    assert len(potential.asked) == 21
    arrays = {name: getattr(CRYSTALS, name) + 1 for name in ("species", "coordinates", "lattices")}
    changed = [CRYSTALS, *(replace(CRYSTALS, **{name: arrays[name]}) for name in arrays)]
    hashes = np.concatenate([content_hashes(each) for each in changed])
    assert len(np.unique(hashes, axis=0)) == 4 * len(CRYSTALS)


def test_an_interrupted_run_resumes_and_damage_is_reported(potential, tmp_path):
    potential.interrupt_after = 32
    with pytest.raises(KeyboardInterrupt):
        foundation_features(CRYSTALS, potential, folder=tmp_path)
    assert len(potential.asked) == 32
    potential.interrupt_after = 10**9
    assert_right(foundation_features(CRYSTALS, potential, folder=tmp_path))
    assert sorted(potential.asked) == sorted(CRYSTALS.names.tolist())
    (file,) = (tmp_path / "counting-1").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    lines: list[str] = []
    assert_right(foundation_features(CRYSTALS, potential, folder=tmp_path, log=lines.append))
    assert any("damaged" in text for text in lines)
    with pytest.raises(DataError, match="another folder"):
        foundation_features(CRYSTALS, potential, folder=file)


@pytest.mark.parametrize(("system", "expected"), [("linux", "home/.cache"), ("win32", "local")])
def test_the_user_cache_follows_the_system(system, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path / "home")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_cache() == tmp_path / expected / "variolite" / "foundation"


def test_worker_processes_give_the_same(tmp_path, monkeypatch):
    pytest.importorskip("chgnet", reason="the package chgnet is not installed")
    monkeypatch.setattr(features_module, "WORTH_A_PROCESS", 8)
    monkeypatch.setattr(features_module, "PART", 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    crystals = CRYSTALS.take(slice(0, 16))
    alone = foundation_features(crystals)
    shared = foundation_features(crystals, workers=2, folder=user_cache())
    assert (tmp_path / "variolite" / "foundation" / "chgnet-0.3.0").is_dir()
    np.testing.assert_allclose(shared.energies, alone.energies, atol=1e-5)
    np.testing.assert_allclose(shared.features, alone.features, rtol=2e-3, atol=2e-3)
