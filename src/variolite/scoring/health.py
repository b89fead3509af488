"""Health of a latent space: which dimensions carry something, what they carry, what to change.

A dimension is active when its Kullback-Leibler divergence from the prior exceeds
0.01 nats per row. The spread of the posterior means is reported beside it but
decides nothing: it has no natural threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray, as_matrix

# What the numbers of a latent space mean, in plain words, and what to do about it.


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


_MOST_ROWS = 20_000


@dataclass(frozen=True)
class Dimension:
    """One latent dimension.

    Attributes
    ----------
    index
        Position in the latent vector.
    kl
        KL divergence of the posterior from the prior, mean over rows, nats.
    active
        Whether ``kl`` exceeds 0.01 nats.
    mean_sd
        Standard deviation of the posterior mean over rows.
    correlation
        Spearman rank correlation of the posterior mean with every input.
    """

    index: int
    kl: float
    active: bool
    mean_sd: float
    correlation: Mapping[str, float]


@dataclass(frozen=True)
class Health:
    """Latent health; ``to_dict`` gives the content of health.json.

    Attributes
    ----------
    total_kl
        KL divergence summed over dimensions, mean over rows, nats.
    noise
        Standard deviation of the decoder per input, transformed units.
    dimensions, findings
        Per dimension, and in plain words.
    """

    total_kl: float
    noise: Mapping[str, float]
    dimensions: tuple[Dimension, ...]
    findings: tuple[Finding, ...]

    @property
    def active_units(self) -> int:
        """Number of active dimensions."""
        return sum(dimension.active for dimension in self.dimensions)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of health.json; undefined correlations are None."""
        dimensions = []
        for dimension in self.dimensions:
            entry = asdict(dimension)
            entry["correlation"] = {
                name: value if np.isfinite(value) else None
                for name, value in dimension.correlation.items()
            }
            dimensions.append(entry)
        return {
            "latent": len(self.dimensions),
            "active_units": self.active_units,
            "total_kl": self.total_kl,
            "noise": dict(self.noise),
            "dimensions": dimensions,
            "findings": [asdict(finding) for finding in self.findings],
        }


def judge_health(
    mean: ArrayLike,
    log_variance: ArrayLike,
    inputs: ArrayLike,
    names: Sequence[str],
    *,
    kl: ArrayLike | None = None,
    noise: Mapping[str, float] | None = None,
) -> Health:
    """Judge the latent space from posteriors of held-out rows.

    Parameters
    ----------
    mean, log_variance
        Parameters of the Gaussian posterior of every row, [n, L].
    inputs
        Inputs [n, d] in any monotone scale, NaN where unknown.
    names
        Names of the inputs [d].
    kl
        KL divergence of every row and dimension [n, L] or of every dimension
        [L], for a prior that is not standard normal; by default
        (mu^2 + sigma^2 - 1 - log sigma^2) / 2 (D. Kingma, M. Welling, 2014,
        appendix B).
    noise
        Decoder standard deviation per input in transformed units.

    Raises
    ------
    DataError
        If shapes do not fit one another or posteriors are not finite.
    """
    mu, log_var = as_matrix(mean, "posterior means"), as_matrix(log_variance, "log-variances")
    values = np.asarray(inputs, dtype=np.float64)
    if mu.shape != log_var.shape or values.shape != (len(mu), len(names)):
        raise DataError(
            f"means {mu.shape}, log-variances {log_var.shape} and inputs {values.shape} with "
            f"{len(names)} names do not fit one another",
            where="latent health",
        )
    divergence = _divergence(mu, log_var, kl)
    spread = mu.std(axis=0)
    sample = slice(None, None, -(-len(mu) // _MOST_ROWS))
    with_inputs = _rank_correlations(mu[sample], values[sample])
    dimensions = tuple(
        Dimension(
            index=index,
            kl=float(divergence[index]),
            active=bool(divergence[index] > ACTIVE_NATS),
            mean_sd=float(spread[index]),
            correlation={
                name: float(value) for name, value in zip(names, with_inputs[index], strict=True)
            },
        )
        for index in range(mu.shape[1])
    )
    sigmas = {name: float(sigma) for name, sigma in (noise or {}).items()}
    active = np.flatnonzero(divergence > ACTIVE_NATS)
    findings = (
        *collapse(divergence, len(active)),
        *duplicates(active, mu[sample]),
        *unread_inputs(names, with_inputs[active]),
        *noise_levels(sigmas),
        *far_rows(mu),
        *(prior_mismatch(mu[:, active], log_var[:, active], active) if kl is None else ()),
    )
    if all(finding.level != "warning" for finding in findings):
        text = f"{len(active)} of {len(divergence)} dimensions carry information, none twice"
        findings = (Finding("ok", text, "Nothing needs to change"), *findings)
    return Health(float(divergence.sum()), sigmas, dimensions, findings)


def _divergence(mu: FloatArray, log_var: FloatArray, kl: ArrayLike | None) -> FloatArray:
    """KL divergence per dimension [L], averaged over rows."""
    if kl is None:
        return np.asarray(0.5 * (mu**2 + np.exp(log_var) - 1.0 - log_var).mean(axis=0))
    given = np.asarray(kl, dtype=np.float64)
    if given.shape not in (mu.shape, mu.shape[1:]):
        raise DataError(
            f"has shape {given.shape}, expected {mu.shape} or {mu.shape[1:]}", where="KL divergence"
        )
    return given.mean(axis=0) if given.ndim == 2 else given


def _rank_correlations(mu: FloatArray, inputs: FloatArray) -> FloatArray:
    """Spearman correlation of every latent mean with every input, [L, d]; NaN if undefined."""
    out = np.full((mu.shape[1], inputs.shape[1]), np.nan)
    complete = _standardised_ranks(mu)
    for column, values in enumerate(inputs.T):
        known = np.isfinite(values)
        if known.sum() < 3:
            continue
        ranks = complete if known.all() else _standardised_ranks(mu[known])
        own = _standardised_ranks(values[known, None])
        out[:, column] = (ranks * own).mean(axis=0)
    return out


def _standardised_ranks(columns: FloatArray) -> FloatArray:
    """Ranks of each column with ties averaged, mean 0 and sd 1; NaN for a constant column."""
    out = np.empty(columns.shape)
    for index, column in enumerate(columns.T):
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - 0.5 * (counts - 1))[inverse]
        spread = ranks.std()
        out[:, index] = (ranks - ranks.mean()) / spread if spread > 0 else np.nan
    return out
