"""What the numbers of a latent space mean, in plain words, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from variolite.scoring.arrays import FloatArray, IntArray

__all__ = [
    "ACTIVE_NATS",
    "Finding",
    "collapse",
    "duplicates",
    "far_rows",
    "noise_levels",
    "prior_mismatch",
    "unread_inputs",
]

ACTIVE_NATS = 0.01
"""Least KL divergence of an active dimension, nats per row."""

_DUPLICATE = 0.95
_UNREAD = 0.1
_FAR = 8.0


@dataclass(frozen=True)
class Finding:
    """Something worth knowing: level "ok", "note" or "warning", what it is, what to do."""

    level: str
    text: str
    advice: str


def collapse(divergence: FloatArray, active: int) -> list[Finding]:
    """Judge the number of active dimensions, from the KL divergence per dimension [L]."""
    size = len(divergence)
    if active == 0:
        return [
            Finding(
                "warning",
                f"Posterior collapse: none of {size} dimensions carries information "
                f"(KL {divergence.sum():.3g} nats in all)",
                "Let the noise be learned, or lower beta or the fixed noise; lengthen the "
                "warm-up; check that the inputs vary",
            )
        ]
    if active == 1 and size > 1:
        return [
            Finding(
                "warning",
                f"Only 1 of {size} dimensions carries information",
                "Let the noise be learned, or lower beta or the fixed noise; a direction "
                "survives only if its variance exceeds that of the noise",
            )
        ]
    if active == size:
        return [
            Finding(
                "note",
                f"All {size} dimensions carry information, so the latent space may be too small",
                "Try a larger latent size and compare the held-out log-likelihood",
            )
        ]
    return [
        Finding(
            "note",
            f"{size - active} of {size} dimensions stay at the prior (KL below {ACTIVE_NATS} nats)",
            "Harmless. Leave them out before clustering and do not standardise them: that "
            "would blow noise up",
        )
    ]


def duplicates(active: IntArray, mu: FloatArray) -> list[Finding]:
    """Find pairs of active dimensions that say the same, from posterior means [n, L]."""
    if len(active) < 2:
        return []
    centred = mu[:, active] - mu[:, active].mean(axis=0)
    sd = centred.std(axis=0)
    scaled = centred / np.where(sd > 0, sd, 1.0)
    correlation = scaled.T @ scaled / len(scaled)
    first, second = np.nonzero(np.triu(np.abs(correlation) > _DUPLICATE, k=1))
    return [
        Finding(
            "warning",
            f"Dimensions {active[i]} and {active[j]} carry the same "
            f"(correlation {correlation[i, j]:.2f})",
            "Use a smaller latent size, or train longer: the prior should pull them apart",
        )
        for i, j in zip(first, second, strict=True)
    ]


def unread_inputs(names: Sequence[str], correlation: FloatArray) -> list[Finding]:
    """Find inputs that no active dimension follows, from rank correlations [active, d]."""
    if not len(correlation):
        return []
    known = np.where(np.isfinite(correlation), np.abs(correlation), 0.0).max(axis=0)
    constant = np.logical_not(np.isfinite(correlation).any(axis=0, keepdims=True))[0]
    out = []
    for name, strongest, flat in zip(names, known, constant, strict=True):
        if flat:
            text = f"Input {name} does not vary among these rows, or is never observed"
            out.append(Finding("warning", text, f"Leave {name} out, or check how it is read"))
        elif strongest < _UNREAD:
            out.append(
                Finding(
                    "note",
                    f"Input {name} is followed by no dimension "
                    f"(strongest rank correlation {strongest:.2f})",
                    f"The model takes {name} for noise. Check its transform and outliers; if "
                    "it should matter, fix a smaller noise for it",
                )
            )
    return out


def noise_levels(noise: Mapping[str, float]) -> list[Finding]:
    """Judge decoder standard deviations in units where an input has standard deviation 1."""
    out = []
    for name, sigma in noise.items():
        if not np.isfinite(sigma) or sigma <= 0:
            text = f"The noise of {name} is {sigma}, which is no standard deviation"
            out.append(Finding("warning", text, "Train again; the run has gone astray"))
        elif sigma > 0.9:
            out.append(
                Finding(
                    "note",
                    f"{name} is hardly reconstructed: noise {sigma:.2f} where 1 is its spread",
                    "Nothing else tells its value, or the latent space is too small for it",
                )
            )
        elif sigma < 0.02:
            out.append(
                Finding(
                    "note",
                    f"{name} is reproduced almost exactly (noise {sigma:.3f}) and rules the "
                    "likelihood",
                    "Look for a column that repeats or determines it; a floor for the noise helps",
                )
            )
    return out


def far_rows(mu: FloatArray) -> list[Finding]:
    """Find rows that are encoded far outside the prior, from posterior means [n, L]."""
    far = int((np.abs(mu) > _FAR).any(axis=1).sum())
    if not far:
        return []
    return [
        Finding(
            "note",
            f"{far} of {len(mu)} rows are encoded more than {_FAR:.0f} standard deviations "
            "from the centre",
            "Outliers or wrong units are likely: look at these rows, or clip the inputs",
        )
    ]


def prior_mismatch(mu: FloatArray, log_var: FloatArray, active: IntArray) -> list[Finding]:
    """Compare the aggregate posterior of active dimensions with a standard normal prior."""
    if not len(active):
        return []
    centre = mu.mean(axis=0)
    variance = mu.var(axis=0) + np.exp(log_var).mean(axis=0)
    odd = active[(np.abs(centre) > 0.5) | (variance < 0.5) | (variance > 1.6)]
    if not len(odd):
        return []
    which = ", ".join(str(index) for index in odd)
    return [
        Finding(
            "note",
            f"The codes as a whole do not follow the prior in dimension {which}",
            "For sampling, fit a mixture to the codes instead of drawing from the prior; "
            "encoding and clustering are not affected",
        )
    ]
