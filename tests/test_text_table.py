"""Plain-text tables: aligned, never cut, without empty columns."""

from variolite.text_table import text_table


def test_columns_are_aligned_and_empty_ones_left_out():
    rows = [("vae", "", "9", "0.21"), ("pca_whitened", "", "12", "")]
    text = text_table(("method", "unit", "k", "ari"), rows, right=("k",), indent=2)
    assert text.splitlines() == [
        "  method         k  ari",
        "  vae            9  0.21",
        "  pca_whitened  12",
    ]


def test_long_lines_are_kept_whole():
    cell = "word " * 60 + "end"
    assert text_table(("note",), [(cell,)]).splitlines() == ["note", cell]
    assert text_table(("a", "b"), []) == ""
