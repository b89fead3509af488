"""The cache of features: known by content, resumed after an interruption, damage survived."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.potential import features as features_module
from variolite.crystals.potential import potential as potential_module
from variolite.crystals.potential.features import content_hashes, foundation_features, user_cache
from variolite.crystals.potential.potential import Forces, Potential, Prediction, Source
from variolite.errors import DataError


class Counting(Potential):
    """A potential that is quick, refuses hydrogen, and notes what it was asked."""

    name = "counting"
    version = "1"
    width = 4

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.interrupt_after = 10**9

    def predict(self, crystals: Crystals) -> Prediction:
        if len(self.asked) >= self.interrupt_after:
            raise KeyboardInterrupt
        self.asked += crystals.names.tolist()
        atoms = np.repeat(crystals.species[:, None].astype(np.float32), 4, axis=1) / 3
        atoms[:, 1:] += crystals.coordinates.astype(np.float32)
        hydrogen = np.zeros(len(crystals), bool)
        hydrogen[crystals.owner[crystals.species == 1]] = True
        atoms[hydrogen[crystals.owner]] = np.nan
        return Prediction(
            np.where(hydrogen, np.nan, -crystals.volumes),
            atoms,
            np.where(hydrogen, "hydrogen", "").astype("<U64"),
        )

    def forces(self, crystals: Crystals) -> Forces:
        raise NotImplementedError


@pytest.fixture
def potential(monkeypatch: pytest.MonkeyPatch) -> Counting:
    made = Counting()
    monkeypatch.setattr(potential_module, "load_potential", lambda *args, **kwargs: made)
    monkeypatch.setattr(features_module, "PART", 8)
    monkeypatch.setattr(features_module, "PIECE", 20)
    return made


def assert_same(found: Prediction, expected: Prediction) -> None:
    np.testing.assert_array_equal(found.energies, expected.energies)
    np.testing.assert_array_equal(
        found.features, expected.features.astype(np.float16).astype(np.float32)
    )
    assert found.reasons.tolist() == expected.reasons.tolist()


def test_second_time_nothing_is_computed(potential: Counting, tmp_path: Path) -> None:
    crystals = textbook_crystals()
    expected = Counting().predict(crystals)
    assert_same(foundation_features(crystals), expected)
    assert len(potential.asked) == len(crystals)
    assert_same(foundation_features(crystals, folder=tmp_path / "new"), expected)
    assert len(potential.asked) == 2 * len(crystals)
    assert_same(foundation_features(crystals, folder=tmp_path / "new"), expected)
    assert len(potential.asked) == 2 * len(crystals)
    assert len(list((tmp_path / "new" / "counting-1").iterdir())) == 1
    backwards = crystals.take(np.arange(len(crystals))[::-1])
    assert_same(
        foundation_features(backwards, folder=tmp_path / "new"), Counting().predict(backwards)
    )
    assert len(potential.asked) == 2 * len(crystals)


def test_content_counts_and_not_the_name(potential: Counting, tmp_path: Path) -> None:
    crystals = textbook_crystals().take(slice(0, 10))
    foundation_features(crystals, folder=tmp_path)
    renamed = replace(crystals, names=np.array([f"other {i}" for i in range(10)]))
    foundation_features(renamed, folder=tmp_path)
    assert len(potential.asked) == 10
    moved = crystals.coordinates.copy()
    moved[-1, 0] += 1e-12 if moved[-1, 0] else 1e-300
    foundation_features(replace(crystals, coordinates=moved), folder=tmp_path)
    assert potential.asked[10:] == [crystals.names[-1]]


def test_twins_are_computed_once(potential: Counting) -> None:
    crystals = textbook_crystals().take(np.array([4, 2, 4, 4, 7]))
    found = foundation_features(crystals)
    assert len(potential.asked) == 3
    assert_same(found, Counting().predict(crystals))


def test_hashes_tell_species_coordinates_and_cells_apart() -> None:
    crystals = textbook_crystals()
    changed = [
        crystals,
        replace(crystals, species=crystals.species + np.uint8(1)),
        replace(crystals, coordinates=crystals.coordinates + 0.5),
        replace(crystals, lattices=crystals.lattices * 1.5),
    ]
    assert len({key for each in changed for key in content_hashes(each)}) == 4 * len(crystals)


def test_an_interrupted_run_resumes(potential: Counting, tmp_path: Path) -> None:
    crystals = textbook_crystals()
    potential.interrupt_after = 32
    with pytest.raises(KeyboardInterrupt):
        foundation_features(crystals, folder=tmp_path)
    assert len(potential.asked) == 32
    potential.interrupt_after = 10**9
    found = foundation_features(crystals, folder=tmp_path)
    assert sorted(potential.asked) == sorted(crystals.names.tolist())
    assert_same(found, Counting().predict(crystals))


def test_a_damaged_file_is_reported_and_computed_again(potential: Counting, tmp_path: Path) -> None:
    crystals = textbook_crystals()
    foundation_features(crystals, folder=tmp_path)
    (file,) = (tmp_path / "counting-1").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    lines: list[str] = []
    found = foundation_features(crystals, folder=tmp_path, log=lines.append)
    assert any("damaged" in text for text in lines)
    assert_same(found, Counting().predict(crystals))


def test_another_version_shares_nothing(potential: Counting, tmp_path: Path) -> None:
    crystals = textbook_crystals().take(slice(0, 5))
    foundation_features(crystals, folder=tmp_path)
    potential.version = "2"
    foundation_features(crystals, folder=tmp_path)
    assert len(potential.asked) == 10


def test_a_folder_that_cannot_be_made_is_told(potential: Counting, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="another folder"):
        foundation_features(textbook_crystals(), folder=tmp_path / "file")


def test_nothing_in_gives_nothing_out(potential: Counting, tmp_path: Path) -> None:
    found = foundation_features(Crystals.of([]), folder=tmp_path)
    assert found.features.shape == (0, 4)


def test_user_cache_follows_the_conventions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("somewhere")))
    assert user_cache() == Path("somewhere") / "variolite" / "foundation"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache().parts[-2:] == ("variolite", "foundation")


def test_worker_processes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("chgnet", reason="the package chgnet is not installed")
    monkeypatch.setattr(features_module, "WORTH_A_PROCESS", 8)
    monkeypatch.setattr(features_module, "PART", 4)
    crystals = textbook_crystals().take(slice(0, 16))
    alone = foundation_features(crystals, Source("chgnet"))
    shared = foundation_features(crystals, Source("chgnet"), workers=2, folder=tmp_path)
    np.testing.assert_allclose(shared.energies, alone.energies, atol=1e-5)
    np.testing.assert_allclose(shared.features, alone.features, rtol=2e-3, atol=2e-3)
