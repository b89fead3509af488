"""What each cluster is made of: quantiles of the inputs and the commonest labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.report.classes import contingency
from variolite.report.held_out import HeldOut

__all__ = ["Profile", "profiles_of", "quantiles_of"]

Floats = NDArray[np.float64]

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Profile:
    """One cluster: rows, share of all rows, quantiles by input, and its commonest labels.

    ``quantiles`` maps an input to its 10 %, 50 % and 90 % quantiles in original
    units; ``labels`` are (label, share of the labelled rows of the cluster),
    the first one's share being the purity.
    """

    name: str
    colour: str
    rows: int
    share: float
    quantiles: dict[str, Floats]
    labels: tuple[tuple[str, float], ...]


def profiles_of(held_out: HeldOut) -> list[Profile]:
    """Describe every cluster of the held-out rows, in the order of their legend."""
    if held_out.clusters is None:
        return []
    counts = held_out.clusters.counts()
    shares = None
    if held_out.every_label is not None:
        overlap = contingency(held_out.clusters, held_out.every_label)
        shares = overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1)
    profiles: list[Profile] = []
    for code, name in enumerate(held_out.clusters.names):
        rows = held_out.clusters.codes == code
        labels: tuple[tuple[str, float], ...] = ()
        if shares is not None and held_out.every_label is not None:
            ranked = np.argsort(-shares[code], kind="stable")[:3]
            labels = tuple(
                (held_out.every_label.names[i], float(shares[code, i]))
                for i in ranked
                if shares[code, i]
            )
        profiles.append(
            Profile(
                name=name,
                colour=held_out.clusters.colours[code],
                rows=int(counts[code]),
                share=float(counts[code] / held_out.rows),
                quantiles={
                    column: quantiles_of(values[rows]) for column, values in held_out.inputs.items()
                },
                labels=labels,
            )
        )
    return profiles


def quantiles_of(values: Floats) -> Floats:
    """Return the 10 %, 50 % and 90 % quantiles of the finite values, NaN where there are none."""
    finite = values[np.isfinite(values)]
    return np.quantile(finite, QUANTILES) if finite.size else np.full(3, np.nan)
