"""The trial of faults, in small: it counts, and it finds what is broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="forks and watches them as Linux can")
def test_a_few_faults_are_tried_and_written_down(tmp_path):
    page = tmp_path / "robustness.md"
    page.with_suffix(".json").write_text(
        json.dumps({"other": {"tried": 5, "broken": 1, "faults": {"odd": 1}, "made": "before"}})
    )
    trials = ("--kills", "3", "--others", "4", "--cases", "60")
    arguments = (*trials, "--only", "pack", "--out", str(page))
    subprocess.run(
        [sys.executable, "-m", "benchmarks.robustness", *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
    )
    rows = json.loads(page.with_suffix(".json").read_text())
    kinds = ("kill", "signal", "full disk", "two at once", "fuzz")
    assert set(rows) == {"other", *(f"{kind}: pack" for kind in kinds)}
    for kind in kinds:
        row = rows[f"{kind}: pack"]
        assert row["tried"] >= 1
        assert not row["broken"], row["faults"]
    assert "- other: 1 x odd" in page.read_text()
