"""The label of a bin: the commonest description, its purity and the runner-up."""

from __future__ import annotations

import polars as pl

__all__ = ["label_bins"]


def label_bins(counts: pl.DataFrame, *, min_purity: float = 0.0) -> pl.DataFrame:
    """Choose one label per bin from the readings described in it.

    Parameters
    ----------
    counts
        Rows with ``hole``, ``bin``, ``label`` (null for none) and ``used``, the
        number of readings so described; a label may come several times.
    min_purity
        Smallest share of the winning label, 0 to 1; below it the bin loses its
        label but keeps the purity and the runner-up.

    Returns
    -------
    pl.DataFrame
        One row per hole and bin, in no order, with ``lithology``, ``lithology_purity`` (share of
        described readings that carry the label), ``lithology_second`` and
        ``impure`` (True where the label was withdrawn). Ties go to the name that
        comes first in the alphabet.
    """
    described = counts.lazy().filter(pl.col("label").is_not_null())
    per_label = described.group_by("hole", "bin", "label").agg(pl.col("used").sum()).collect()
    # Nearly all bins lie in one bed; only the others have to be ranked.
    mixed = per_label.select("hole", "bin").is_duplicated()
    plain = per_label.filter(~mixed).select(
        "hole",
        "bin",
        pl.col("label").alias("lithology"),
        pl.lit(1.0).alias("lithology_purity"),
        pl.lit(None, dtype=pl.String).alias("lithology_second"),
    )
    ranked = (
        per_label.filter(mixed)
        .sort("hole", "bin", "used", "label", descending=[False, False, True, False])
        .group_by("hole", "bin", maintain_order=True)
        .agg(
            pl.col("label").first().alias("lithology"),
            (pl.col("used").first() / pl.col("used").sum()).alias("lithology_purity"),
            pl.col("label").get(1).alias("lithology_second"),
        )
    )
    pure = pl.col("lithology_purity") >= min_purity
    return pl.concat([plain, ranked]).with_columns(
        pl.when(pure).then("lithology"), (~pure).alias("impure")
    )
