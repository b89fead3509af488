"""The demo: its structures, what it says of what was built, and a package that is missing."""

import polars as pl
import pytest

from variolite import optional
from variolite.errors import DataError
from variolite.frameworks import demo
from variolite.progress import Progress


def test_structures_are_written_as_core_mof_holds_them(tmp_path):
    package = pytest.importorskip("CoRE_MOF", reason="its structures come with core-mof")
    demo.unpack(["EDUSIF_clean", "ECIWUJ_clean"], tmp_path / "cifs")
    names = {path.name for path in (tmp_path / "cifs").iterdir()}
    assert names == {"EDUSIF_clean.cif", "ECIWUJ_clean.cif"}
    content = package.get_CIF_structure_data(demo.DATASET, "EDUSIF_clean")
    assert (tmp_path / "cifs" / "EDUSIF_clean.cif").read_bytes() == content
    with pytest.raises(DataError, match="core-mof has no NOTHIN_clean in its set 2014"):
        demo.unpack(["NOTHIN_clean"], tmp_path / "none")


def test_the_demo_takes_structures_that_there_are():
    package = pytest.importorskip("CoRE_MOF", reason="its structures come with core-mof")
    assert set(demo.STRUCTURES) <= set(package.list_structures(demo.DATASET))
    assert len(set(demo.STRUCTURES)) == len(demo.STRUCTURES) == 60


def test_requests_are_reported_beside_what_was_built():
    built = pl.DataFrame(
        {
            "void_fraction_requested": [0.45, 0.45, 0.45, 0.6],
            "built": [True, True, False, False],
            "void_fraction": [0.4, 0.5, None, None],
        }
    )
    low, middle, high = demo.outcome(built)
    assert low == (
        "void fraction 0.45 asked for: 2 of 3 are built, and have 0.45 (median; 0.40 to 0.50)"
    )
    assert middle == "void fraction 0.6 asked for: 0 of 1 are built"
    assert high == "void fraction 0.75 asked for: 0 of 0 are built"


def test_a_missing_package_is_one_line_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(optional, "is_there", lambda module: module != "CoRE_MOF")
    with pytest.raises(DataError, match="core-mof is needed for the structures of the demo") as one:
        demo.run_demo(tmp_path / "demo", Progress())
    assert "pip install 'variolite[frameworks]'" in str(one.value)
    assert not (tmp_path / "demo").exists()
