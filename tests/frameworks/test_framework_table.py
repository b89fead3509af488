"""Tables of frameworks as a model sees them, faulty ones too."""

import polars as pl
import pytest

from variolite.errors import DataError, DataWarning
from variolite.frameworks.columns import CELL
from variolite.frameworks.framework_table import with_derived

CUBE = dict(zip(CELL, ([10.0], [10.0], [10.0], [90.0], [90.0], [90.0]), strict=True))


@pytest.mark.parametrize("wrong", [{"a": ["wide"]}, {"c": [-10.0]}, {"gamma": [180.5]}])
def test_cells_that_are_none_are_named_as_the_table_has_them(wrong):
    assert with_derived(pl.DataFrame(CUBE))["cell_ab"].to_list() == pytest.approx([0.0])
    with pytest.raises(DataError, match="a, b, c, alpha, beta, gamma make no cell in any row"):
        with_derived(pl.DataFrame(CUBE | wrong))


def test_linkers_that_are_no_molecules_are_said():
    pytest.importorskip("rdkit", reason="reads linkers")
    cells = ["[O-]C(=O)c1ccccc1;BDC", "C1,C2", None]
    with pytest.warns(DataWarning, match="2 are no SMILES of molecules .*: 'BDC', 'C1,C2'"):
        found = with_derived(pl.DataFrame({"linkers": cells}))
    assert found["linkers"].to_list() == ["O=C(O)c1ccccc1", None, None]
