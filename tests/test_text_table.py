"""Plain-text tables: aligned, never cut, without empty columns."""

from variolite.text_table import text_table


def test_columns_are_aligned_empty_ones_left_out_and_long_lines_kept():
    rows = [("vae", "", "9", "0.21"), ("pca_whitened", "", "12", "")]
    text = text_table(("method", "unit", "k", "ari"), rows, right=("k",), indent=2)
    assert text.splitlines() == [
        "  method         k  ari",
        "  vae            9  0.21",
        "  pca_whitened  12",
    ]
    # Long lines are kept whole.
    cell = "word " * 60 + "end"
    assert text_table(("note",), [(cell,)]).splitlines() == ["note", cell]
    assert text_table(("a", "b"), []) == ""
    assert text_table(("a",), [("\x1b[1mW",)]).splitlines() == ["a", "\\x1b[1mW"]
