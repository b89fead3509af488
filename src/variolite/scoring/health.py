"""Health of a latent space: which dimensions carry something, what they carry, what to change.

A dimension is active when its Kullback-Leibler divergence from the prior exceeds
0.01 nats per row. The spread of the posterior means is reported beside it but
decides nothing: it has no natural threshold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from variolite.scoring.gmm import as_matrix
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.scorecard import Number

ACTIVE_NATS = 0.01  # least KL divergence of an active dimension, nats per row
_DUPLICATE = 0.95
_UNREAD = 0.1
_FAR = 8.0
_MOST_ROWS = 20_000
_MOST_PAIRED = 3000  # rows of which all pairs are compared


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Finding(_Stored):
    """Something worth knowing: what it is, and what to do about it."""

    level: Literal["ok", "note", "warning"]
    text: str
    advice: str | None = None


class Dimension(_Stored):
    """One latent dimension, by its ``index`` in the latent vector.

    ``kl`` is the KL divergence of the posterior from the prior, mean over rows, nats;
    ``mean_sd`` the standard deviation of the posterior mean over rows; ``correlation`` its
    Spearman rank correlation with every input.
    """

    index: int
    kl: Number
    active: bool
    mean_sd: Number | None = None
    correlation: dict[str, Number] = {}


class Health(_Stored):
    """Latent health, the content of health.json.

    Of ``latent`` dimensions ``active_units`` are active; ``total_kl`` is summed over them all,
    mean over rows, nats. ``noise`` is the standard deviation of the decoder per input,
    transformed units.
    """

    latent: int
    active_units: int
    total_kl: Number
    noise: dict[str, Number] = {}
    dimensions: tuple[Dimension, ...] = ()
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the content of health.json; numbers that are undefined are None."""
        content: dict[str, Any] = json.loads(self.model_dump_json())
        return content

    def lines(self) -> list[str]:
        """Lay out the dimensions, then the findings with advice."""
        lines = [
            f"{self.active_units} of {self.latent} latent dimensions active, "
            f"{self.total_kl:.2f} nats in all"
        ]
        for entry in self.dimensions:
            known = {name: r for name, r in entry.correlation.items() if np.isfinite(r)}
            link = ""
            if entry.active and known:
                strongest = max(known, key=lambda name: abs(known[name]))
                link = f"r = {known[strongest]:+.2f} with {strongest}"
            state = "active" if entry.active else "idle"
            lines.append(f"  z{entry.index:<3} {entry.kl:6.3f} nats  {state:<6}  {link}".rstrip())
        for finding in self.findings:
            sentences = [f"{text.rstrip('.')}." for text in (finding.text, finding.advice) if text]
            lines.append(f"{finding.level}: {' '.join(sentences)}")
        return lines


Moments = tuple[ArrayLike, ArrayLike]
"""Mean and variance of a prior in every dimension, [..., L] each."""


def kl_from_normal(
    mean: FloatArray, log_variance: FloatArray, prior: Moments = (0.0, 1.0)
) -> FloatArray:
    """Mean KL of Gaussian posteriors [..., n, L] over n rows, nats, [..., L].

    From the normal with the moments of the prior; D. Kingma, M. Welling, 2014, appendix B.
    """
    centre, variance = (np.expand_dims(np.asarray(part), -2) for part in map(np.atleast_1d, prior))
    ratio = (np.square(mean - centre) + np.exp(log_variance)) / variance
    nats = 0.5 * (ratio - log_variance + np.log(variance) - 1.0)
    return np.asarray(nats.mean(axis=-2))


def posterior_information(mean: ArrayLike, log_variance: ArrayLike, *, seed: int = 0) -> float:
    """Mutual information of rows and latents in nats, from Gaussian posteriors [n, L] each.

    One draw per row, whose density is compared with that of the mixture of all posteriors; it
    cannot exceed log n. Of many rows every n-th counts.
    """
    mu, log_var = as_matrix(mean, "posterior means"), as_matrix(log_variance, "log-variances")
    sample = slice(None, None, -(-len(mu) // _MOST_PAIRED))
    mu, log_var = mu[sample], log_var[sample]
    z = mu + np.exp(0.5 * log_var) * np.random.default_rng(seed).standard_normal(mu.shape)
    found = np.empty(len(mu))
    for row, draw in enumerate(z):
        densities = -0.5 * ((draw - mu) ** 2 * np.exp(-log_var) + log_var).sum(axis=1)
        found[row] = densities[row] - np.logaddexp.reduce(densities) + np.log(len(mu))
    return float(found.mean())


def evaluate_health(
    mean: ArrayLike,
    log_variance: ArrayLike,
    inputs: ArrayLike,
    names: Sequence[str],
    *,
    noise: Mapping[str, float] | None = None,
    prior: Moments = (0.0, 1.0),
) -> Health:
    """Evaluate the latent space from the Gaussian posteriors of test rows, [n, L] each.

    ``inputs`` [n, d], called ``names`` [d], are in any monotone scale, NaN where unknown;
    ``noise`` is the decoder's standard deviation per input in transformed units, ``prior`` the
    mean and variance of the prior in every dimension. Raises DataError if posteriors are not
    finite.
    """
    mu, log_var = as_matrix(mean, "posterior means"), as_matrix(log_variance, "log-variances")
    values = np.asarray(inputs, dtype=np.float64)
    nats = kl_from_normal(mu, log_var, prior)
    active = np.flatnonzero(nats > ACTIVE_NATS)
    sample = slice(None, None, -(-len(mu) // _MOST_ROWS))  # every n-th row, for the ranks
    correlations = _rank_correlations(mu[sample], values[sample])
    dimensions = tuple(
        Dimension(
            index=index,
            kl=float(nats[index]),
            active=bool(nats[index] > ACTIVE_NATS),
            mean_sd=float(spread),
            correlation=dict(zip(names, correlations[index].tolist(), strict=True)),
        )
        for index, spread in enumerate(mu.std(axis=0))
    )
    sigmas = {name: float(sigma) for name, sigma in (noise or {}).items()}
    findings = [
        Finding(level=level, text=text, advice=advice)
        for level, text, advice in (
            *_collapse(nats, len(active)),
            *_duplicates(active, mu[sample]),
            *_unread_inputs(names, correlations[active]),
            *_noise_levels(sigmas),
            *_far_rows(mu, prior),
            *_prior_mismatch(mu, log_var, active, prior),
        )
    ]
    if all(finding.level != "warning" for finding in findings):
        text = f"{len(active)} of {len(nats)} dimensions carry information, none twice"
        findings.insert(0, Finding(level="ok", text=text, advice="Nothing needs to change"))
    return Health(
        latent=len(nats),
        active_units=len(active),
        total_kl=float(nats.sum()),
        noise=sigmas,
        dimensions=dimensions,
        findings=tuple(findings),
    )


def _rank_correlations(mu: FloatArray, inputs: FloatArray) -> FloatArray:
    """Spearman correlation of every latent mean with every input, [L, d]; NaN if undefined.

    From ranks of whole columns: `scipy.stats.spearmanr` would rank the latents again for every
    input, and cannot leave out other rows for each.
    """
    out = np.full((mu.shape[1], inputs.shape[1]), np.nan)
    complete = _standardised_ranks(mu)
    for column, values in enumerate(inputs.T):
        known = np.isfinite(values)
        if known.sum() < 3:
            continue
        ranks = complete if known.all() else _standardised_ranks(mu[known])
        out[:, column] = (ranks * _standardised_ranks(values[known, None])).mean(axis=0)
    return out


def _standardised_ranks(columns: FloatArray) -> FloatArray:
    """Ranks of each column with ties averaged, mean 0 and sd 1; NaN for a constant column."""
    from scipy.stats import rankdata

    ranks = rankdata(columns, axis=0)
    spread = ranks.std(axis=0)
    return np.asarray((ranks - ranks.mean(axis=0)) / np.where(spread > 0, spread, np.nan))


# What the numbers mean, in plain words, and what to do about it: level, text, advice.

_Found = Iterator[tuple[Literal["note", "warning"], str, str]]


def _collapse(nats: FloatArray, active: int) -> _Found:
    size = len(nats)
    remedy = "Let the noise be learned, or lower beta or the fixed noise"
    if active == 0:
        text = f"none of {size} dimensions carries information (KL {nats.sum():.3g} nats in all)"
        advice = f"{remedy}; lengthen the warm-up; check that the inputs vary"
        yield "warning", f"Posterior collapse: {text}", advice
    elif active == 1 and size > 1:
        text = f"Only 1 of {size} dimensions carries information"
        cause = "a direction survives only if its variance exceeds that of the noise"
        yield "warning", text, f"{remedy}; {cause}"
    elif active == size:
        text = f"All {size} dimensions carry information, so the latent space may be too small"
        yield "note", text, "Try a larger latent size and compare the held-out log-likelihood"
    else:
        idle = f"{size - active} of {size} dimensions stay at the prior"
        advice = (
            "Leave them out before clustering and do not standardise them: that would blow noise up"
        )
        yield "note", f"{idle} (KL below {ACTIVE_NATS} nats)", f"Harmless. {advice}"


def _duplicates(active: IntArray, mu: FloatArray) -> _Found:
    """Find pairs of active dimensions that carry the same, from posterior means [n, L]."""
    if len(active) < 2:
        return
    # Correlation matrix by hand: a dimension that does not vary correlates with nothing.
    centred = mu[:, active] - mu[:, active].mean(axis=0)
    sd = centred.std(axis=0)
    scaled = centred / np.where(sd > 0, sd, 1.0)
    correlation = scaled.T @ scaled / len(scaled)
    advice = "Use a smaller latent size, or train longer: the prior should pull them apart"
    for i, j in zip(*np.nonzero(np.triu(np.abs(correlation) > _DUPLICATE, k=1)), strict=True):
        pair = f"Dimensions {active[i]} and {active[j]} carry the same"
        yield "warning", f"{pair} (correlation {correlation[i, j]:.2f})", advice


def _unread_inputs(names: Sequence[str], correlation: FloatArray) -> _Found:
    """Find inputs that no active dimension follows, from rank correlations [active, d]."""
    for name, values in zip(names, correlation.T, strict=True) if len(correlation) else ():
        if not np.isfinite(values).any():
            text = f"Input {name} does not vary among these rows, or is never observed"
            yield "warning", text, f"Leave {name} out, or check how it is read"
        elif (strongest := np.nanmax(np.abs(values))) < _UNREAD:
            advice = (
                f"The model takes {name} for noise. Check its transform and outliers; if "
                "it should matter, fix a smaller noise for it"
            )
            text = f"Input {name} is followed by no dimension"
            yield "note", f"{text} (strongest rank correlation {strongest:.2f})", advice


def _noise_levels(noise: Mapping[str, float]) -> _Found:
    """Check decoder standard deviations in units where an input has standard deviation 1."""
    for name, sigma in noise.items():
        if not np.isfinite(sigma) or sigma <= 0:
            text = f"The noise of {name} is {sigma}, which is not a standard deviation"
            yield "warning", text, "Train again: the run has diverged"
        elif sigma > 0.9:
            text = f"{name} is hardly reconstructed: noise {sigma:.2f} where 1 is its spread"
            advice = "No other input predicts it, or the latent space is too small for it"
            yield "note", text, advice
        elif sigma < 0.02:
            text = (
                f"{name} is reproduced almost exactly (noise {sigma:.3f}) and rules the likelihood"
            )
            advice = "Look for a column that repeats or determines it; a floor for the noise helps"
            yield "note", text, advice


def _far_rows(mu: FloatArray, prior: Moments) -> _Found:
    centre, variance = (np.asarray(part) for part in prior)
    if far := int((np.abs(mu - centre) > _FAR * np.sqrt(variance)).any(axis=1).sum()):
        text = f"{far} of {len(mu)} rows are encoded more than {_FAR:.0f} standard deviations"
        advice = "Outliers or wrong units are likely: look at these rows, or clip the inputs"
        yield "note", f"{text} from the centre", advice


def _prior_mismatch(
    mu: FloatArray, log_var: FloatArray, active: IntArray, prior: Moments
) -> _Found:
    """Compare the aggregate posterior of active dimensions with the moments of the prior."""
    expected, spread = (np.broadcast_to(part, mu.shape[1])[active] for part in prior)
    centre = (mu[:, active].mean(axis=0) - expected) / np.sqrt(spread)
    # Variance of the aggregate: that of the means plus the mean of the variances.
    variance = (mu[:, active].var(axis=0) + np.exp(log_var[:, active]).mean(axis=0)) / spread
    odd = active[(np.abs(centre) > 0.5) | (variance < 0.5) | (variance > 1.6)]
    if len(odd):
        dimensions = ", ".join(map(str, odd))
        advice = (
            "For sampling, fit a mixture to the codes instead of drawing from the prior; "
            "encoding and clustering are not affected"
        )
        text = f"The codes as a whole do not follow the prior in dimension {dimensions}"
        yield "note", text, advice
