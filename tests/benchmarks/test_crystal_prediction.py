"""Structure prediction is scored against the truth, and relaxations by how far atoms went."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.crystals.commands import Meter, plain, spelled
from benchmarks.crystals.prediction import MATCHED_BY, best_of, displacements, figures
from benchmarks.crystals.relaxed_samples import displacements as gone

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.matching import random_coordinates
from variolite.crystals.potential.relaxation import Relaxation

TRUE = textbook_crystals().take(np.arange(12))
NAMES = [setting.name for setting in MATCHED_BY]


def test_a_crystal_matches_itself_and_one_without_a_cell_does_not():
    lattices = np.array(TRUE.lattices)
    lattices[3] = np.nan
    found = displacements(replace(TRUE, lattices=lattices), TRUE, workers=0, log=lambda _: None)
    for name, rms in found.items():
        assert np.isnan(rms[3]), name
        np.testing.assert_allclose(np.delete(rms, 3), 0.0, atol=1e-6)
    by_setting = figures(found, TRUE)
    rate, low, high = by_setting["cdvae_unreduced"]["match_rate"]
    assert low < rate < high
    assert rate == pytest.approx(11 / 12)
    assert by_setting["cdvae_unreduced"]["rmse"][0] == pytest.approx(0.0, abs=1e-6)
    assert by_setting["strict_unreduced"]["rmse_corrected"][0] == pytest.approx(0.1 / 12)
    # Without a match there is no error of the matched.
    none = {name: np.full(12, np.nan) for name in NAMES}
    found = figures(none, TRUE)["cdvae_primitive"]
    assert found["match_rate"] == [0.0, 0.0, 0.0]
    assert np.isnan(found["rmse"][0])
    assert found["rmse_corrected"][0] == pytest.approx(0.5)
    assert plain(found["rmse"])[0] is None


def test_the_best_of_several_is_the_least_that_matches():
    rms = np.array([0.3, np.nan, 0.1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(best_of(rms, 3), [0.1, np.nan])
    np.testing.assert_array_equal(best_of(rms, 1), rms)


def test_the_command_tells_every_option_but_folders():
    flags = {"data": Path("x"), "table": True, "quick": False, "only": None}
    given = argparse.Namespace(models=["a", "b"], relax_steps=50, **flags)
    told = "python -m some.module --models a b --relax-steps 50 --table"
    assert spelled("some.module", given) == told


def test_time_is_added_to_what_was_spent_before(tmp_path):
    file = tmp_path / "spent" / "seconds.json"
    Meter(file).charge("network")
    first = json.loads(file.read_text())["network"]
    again = Meter(file)
    sum(range(300_000))
    again.charge("network")
    again.charge("prior")
    kept = json.loads(file.read_text())
    assert kept["network"] > first
    assert set(kept) == {"network", "prior"}


def _relaxation(after, *energies):
    ones = np.ones(len(after), np.int64)
    rest = (ones.astype(bool), ones, np.zeros(len(after)), np.full(len(after), ""))
    return Relaxation(after, np.array(energies), np.array(energies), *rest)


def test_a_relaxation_is_as_far_as_its_atoms_went_beyond_a_common_shift():
    crystal = TRUE.take(np.flatnonzero(TRUE.counts > 1)[:1])
    both = Crystals.concatenate([crystal, crystal])
    count = int(crystal.counts[0])
    moved = np.array(both.coordinates)
    inverse = np.linalg.inv(crystal.lattices[0])
    # The second: one atom by 0.1 Angstrom along x, all by half a cell and across its border.
    moved[count] += np.array([0.1, 0.0, 0.0]) @ inverse
    moved[count:] = (moved[count:] + 0.5) % 1.0
    found = gone(both, _relaxation(replace(both, coordinates=moved), -1.0, -1.0))
    # One of n atoms moved by d leaves d sqrt(n - 1) / n once the mean is taken off.
    np.testing.assert_allclose(found, [0.0, 0.1 * np.sqrt(count - 1) / count], atol=1e-9)
    lost = gone(both, _relaxation(both, -1.0, np.nan))
    np.testing.assert_array_equal(np.isnan(lost), [False, True])
    strange = gone(both, _relaxation(random_coordinates(both), -1.0, -1.0))
    assert (strange > 0.1).all()
