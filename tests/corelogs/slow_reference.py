"""A slow, independent reading of the binning rule in pandas, one group at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

VALUES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "GRA": (("Bulk density (GRA)", "bulk_density"),),
    "MS": (("Magnetic susceptibility (instr. units)", "magnetic_susceptibility"),),
    "NGR": (("NGR total counts (cps)", "natural_gamma"),),
    "RGB": (("R", "red"), ("G", "green"), ("B", "blue")),
}


def reference_bins(
    path: Path, code: str, ranges: Mapping[str, tuple[float, float]], spacing: float
) -> pd.DataFrame:
    """Bins of one table, indexed by (hole, bin), with the label of each bin."""
    names = [name for _, name in VALUES[code]]
    frame = pd.read_csv(path, dtype={"Exp": str, "Site": str, "Hole": str}, low_memory=False)
    frame = frame.rename(columns=dict(VALUES[code]))
    frame["hole"] = frame["Exp"] + "-" + frame["Site"] + frame["Hole"]
    frame = frame.dropna(subset=["Depth CSF-A (m)", "Principal", *names])
    for name in names:
        low, high = ranges.get(name, (-np.inf, np.inf))
        frame = frame[(frame[name] >= low) & (frame[name] <= high)]
    frame["bin"] = (frame["Depth CSF-A (m)"] / spacing).round().astype(int)
    rows = {}
    for key, group in frame.groupby(["hole", "bin"]):
        counts = group["Principal"].value_counts()
        winners = sorted(counts[counts == counts.max()].index)
        rest = counts.drop(winners[0])
        seconds = sorted(rest[rest == rest.max()].index) if len(rest) else [None]
        row = {
            "lithology": winners[0],
            "lithology_purity": counts.max() / counts.sum(),
            "lithology_second": seconds[0],
        }
        for name in names:
            row[name] = sum(group[name]) / len(group)
            row[f"{name}_count"] = len(group)
            row[f"{name}_sd"] = group[name].std()
        rows[key] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def reference_join(tables: Sequence[pd.DataFrame], how: str, label_from: int = 0) -> pd.DataFrame:
    """Join the bins of all tables on (hole, bin), with the label of one of them."""
    label = ["lithology", "lithology_purity", "lithology_second"]
    values = [table.drop(columns=label) for table in tables]
    joined = values[0]
    for table in values[1:]:
        joined = joined.join(table, how=how)
    return joined.join(tables[label_from][label], how="left").sort_index()
