"""Labels are scored at the levels that fit them, codes under their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from variolite.corelogs import LevelChooser


def test_codes_are_replaced_by_names_and_joined_by_groups() -> None:
    codes = np.array(["65000", "30000", "70032", "", "65000"])
    levels = LevelChooser()({"lithology": codes})
    assert set(levels) == {"force_lithology", "force_group"}
    assert levels["force_lithology"].tolist() == ["Shale", "Sandstone", "Chalk", "", "Shale"]
    assert levels["force_group"][0] == levels["force_group"][1] != levels["force_group"][2]


def test_names_stay_beside_their_groups() -> None:
    names = np.array(["nannofossil ooze", "clay", "silty clay", "basalt"])
    levels = LevelChooser()({"lithology": names})
    assert levels["lithology"] is names
    assert len(set(levels["lithology_group"][1:3])) == 1


def test_unknown_labels_have_one_level() -> None:
    names = np.array(["alpha", "beta"])
    assert set(LevelChooser()({"facies": names})) == {"facies"}
    assert LevelChooser()({}) == {}


def test_a_level_of_ones_own_is_used_whatever_it_covers(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("coarse: [alpha]\n")
    levels = LevelChooser([file])({"facies": np.array(["alpha", "beta"])})
    assert levels["mine"].tolist() == ["coarse", ""]
    assert levels["facies"].tolist() == ["alpha", "beta"]


def test_the_choice_is_made_once() -> None:
    chooser = LevelChooser()
    first = chooser({"lithology": np.array(["65000", "30000"])})
    second = chooser({"lithology": np.array(["", ""])})
    assert set(first) == set(second)
