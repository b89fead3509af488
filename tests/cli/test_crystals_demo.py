"""``variolite demo crystals`` with a model of the package; one line where there is none."""

from pathlib import Path

import pytest

from variolite import shipped
from variolite.crystals.field import DEMO_MODEL


def test_an_installation_without_models_says_so(program, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "_root", lambda: tmp_path / "nothing")
    line = program.fails("demo", "crystals", "--out", tmp_path / "out")
    assert "did not come with this installation" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    DEMO_MODEL not in shipped.shipped_models(), reason="no model comes with the package yet"
)
def test_the_demo_leaves_a_page_and_structures(program, tmp_path):
    out = tmp_path / "demo"
    answer = program("demo", "crystals", "--out", out)
    assert answer.code == 0, answer.err
    page = Path(answer.out.strip())
    assert page.is_file()
    names = {entry.name for entry in (out / "crystals").iterdir()}
    assert {"originals.extxyz", "reconstructed.extxyz", "samples.extxyz", "scorecard.json"} <= names
    assert "none was relaxed" in answer.err
