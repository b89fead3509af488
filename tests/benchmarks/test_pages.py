"""Pages say where they come from, and relaxations are scored by how far atoms went."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.crystals.relaxed_samples import displacements
from benchmarks.pages import command, compact, plain, provenance, write_page

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.matching import random_coordinates
from variolite.crystals.potential.relaxation import Relaxation

TRUE = textbook_crystals().take(np.arange(12))


def test_the_command_has_every_option_but_folders():
    flags = {"data": Path("x"), "table": True, "quick": False, "only": None}
    given = argparse.Namespace(models=["a", "b"], relax_steps=50, **flags)
    expected = "python -m some.module --models a b --relax-steps 50 --table"
    assert command("some.module", given) == expected


def test_json_keeps_six_digits_and_a_record_on_one_line():
    rows = [{"method": "raw", "value": 0.123456789, "low": float("nan")} for _ in range(3)]
    content = plain({"rows": rows, "values": np.arange(60) / 7, "count": np.int64(1_234_567)})
    text = compact(content)
    assert json.loads(text) == content
    assert content["rows"][0] == {"method": "raw", "value": 0.123457, "low": None}
    assert content["count"] == 1_234_567
    assert text.count('{"method"') == text.count("}\n") + text.count("},\n") == 3
    assert max(map(len, text.splitlines())) <= 120


def test_a_page_names_its_command_date_commit_and_machine(tmp_path):
    made = provenance("python -m some.module", ["numpy"])
    write_page(tmp_path / "new" / "page", "A title", ["A line."], {"rows": [1.5]}, made)
    lines = (tmp_path / "new" / "page.md").read_text().splitlines()
    assert lines[0] == "# A title"
    assert lines[2].startswith(f"`python -m some.module`, {made['date']}")
    assert made["machine"] in lines[2]
    assert f"numpy {np.__version__}." in lines[2]
    assert lines[-1] == "A line."
    stored = json.loads((tmp_path / "new" / "page.json").read_text())
    assert stored["rows"] == [1.5]
    assert stored["command"] == "python -m some.module"


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
    found = displacements(both, _relaxation(replace(both, coordinates=moved), -1.0, -1.0))
    # One of n atoms moved by d leaves d sqrt(n - 1) / n once the mean is taken off.
    np.testing.assert_allclose(found, [0.0, 0.1 * np.sqrt(count - 1) / count], atol=1e-9)
    lost = displacements(both, _relaxation(both, -1.0, np.nan))
    np.testing.assert_array_equal(np.isnan(lost), [False, True])
    strange = displacements(both, _relaxation(random_coordinates(both), -1.0, -1.0))
    assert (strange > 0.1).all()
