"""The cheap prior: Gaussian mixtures for whole crystals and for atoms within them.

A crystal is the mean of its latents; that mean, the logarithm of the number of atoms
and the numeric properties follow one mixture with full covariances. What an atom adds
to the mean follows another, jointly with the mean. Conditioning a mixture on some of
its coordinates is exact (C. M. Bishop, 2006, section 2.3.1); elements and space
groups re-weight components by tables of how often they occur in each, as in naive
Bayes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from variolite.crystals.generation.conditions import Known, Vocabulary
from variolite.errors import ModelFileError
from variolite.scoring.gmm import GaussianMixture, fit_gaussian_mixture

Floats = NDArray[np.float64]

ROWS = 30_000
"""Atoms that the mixture within crystals is fitted on."""

SMOOTHING = 1.0
"""Occurrences added to a table entry, in proportion to the whole table."""


@dataclass(frozen=True)
class MixtureSettings:
    """Components of the mixtures for crystals and for atoms; fewer where data are few."""

    crystals: int = 32
    atoms: int = 64


@dataclass(frozen=True)
class MixtureDensity:
    """Fitted mixtures; latents are standardised.

    Attributes
    ----------
    crystals
        Over mean latents, log number of atoms and standardised properties, L + 1 + P.
    atoms
        Over what an atom adds to the mean, and the mean, 2 L.
    crystal_elements, atom_elements
        Log share of every element token in each component, shape (K, E + 1); 0 for free.
    groups
        Log share of every space group in each component of crystals, (K, 231).
    vocabulary
        Of the conditions.
    """

    crystals: GaussianMixture
    atoms: GaussianMixture
    crystal_elements: Floats
    atom_elements: Floats
    groups: Floats
    vocabulary: Vocabulary

    kind = "mixture"

    @property
    def latent(self) -> int:
        """Dimensions of the latent of an atom."""
        return int(self.atoms.means.shape[1] // 2)

    def to(self, device: torch.device) -> None:
        """Stay on the CPU, where mixtures are drawn from."""

    def sample(
        self,
        known: Known,
        *,
        seed: int,
        temperature: float = 1.0,
        guidance: float = 1.0,
        steps: int = 1,
    ) -> NDArray[np.float32]:
        """Draw standardised latents for crystals of known sizes, shape (N, L).

        Parameters
        ----------
        known
            Sizes and conditions.
        seed
            Of the draws.
        temperature
            Factor on the deviations of the components.
        guidance
            Power of what elements, space group, size and properties say about components.
        steps
            Not needed: a mixture is drawn from directly.
        """
        del steps
        random = np.random.default_rng((seed, 3))
        latent = self.latent
        tokens = self.vocabulary.tokens(known.species)
        owner = np.repeat(np.arange(len(known)), known.counts)
        present = np.zeros((len(known), self.crystal_elements.shape[1]))
        present[owner, tokens] = 1.0
        evidence = present @ self.crystal_elements.T + self.groups.T[known.space_groups]
        facts = np.concatenate(
            [
                np.full((len(known), latent), np.nan),
                np.log(known.counts)[:, None],
                self.vocabulary.standardised(known.properties),
            ],
            axis=1,
        )
        means = _conditional(self.crystals, facts, evidence, random, temperature, guidance)
        means = means[:, :latent]
        rows = np.concatenate([np.full((len(owner), latent), np.nan), means[owner]], axis=1)
        evidence = self.atom_elements.T[tokens]
        added = _conditional(self.atoms, rows, evidence, random, temperature, guidance)[:, :latent]
        centre = np.add.reduceat(added, known.offsets[:-1], axis=0) / known.counts[:, None]
        return (means[owner] + added - centre[owner]).astype(np.float32)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return mixtures and tables."""
        arrays: dict[str, NDArray[Any]] = {
            "crystal_elements": self.crystal_elements,
            "atom_elements": self.atom_elements,
            "groups": self.groups,
        }
        for name, mixture in (("crystals", self.crystals), ("atoms", self.atoms)):
            arrays |= {f"{name}.{key}": value for key, value in mixture.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], vocabulary: Vocabulary
    ) -> MixtureDensity:
        """Rebuild a prior from `to_arrays`.

        Raises
        ------
        ModelFileError
            If an array is absent or shapes do not fit one another.
        """
        parts = {
            name: GaussianMixture.from_arrays(
                {
                    key.removeprefix(f"{name}."): value
                    for key, value in arrays.items()
                    if key.startswith(f"{name}.")
                }
            )
            for name in ("crystals", "atoms")
        }
        crystals, atoms = parts["crystals"], parts["atoms"]
        tokens = len(vocabulary.elements) + 1
        expected = {
            "crystal_elements": (crystals.n_components, tokens),
            "atom_elements": (atoms.n_components, tokens),
            "groups": (crystals.n_components, 231),
        }
        for name, shape in expected.items():
            if name not in arrays or arrays[name].shape != shape:
                raise ModelFileError(f"the table {name} of the mixture should have shape {shape}")
        if crystals.means.shape[1] != atoms.means.shape[1] // 2 + 1 + len(vocabulary.properties):
            raise ModelFileError("the two mixtures of the prior do not fit each other")
        return cls(
            crystals,
            atoms,
            arrays["crystal_elements"],
            arrays["atom_elements"],
            arrays["groups"],
            vocabulary,
        )


def fit_mixture(
    latents: NDArray[np.floating],
    known: Known,
    vocabulary: Vocabulary,
    settings: MixtureSettings | None = None,
    *,
    seed: int = 0,
) -> MixtureDensity:
    """Fit both mixtures to standardised latents (N, L).

    A property that is missing for some crystals enters as its mean.
    """
    settings = settings or MixtureSettings()
    latents = latents.astype(np.float64)
    counts = known.counts
    owner = np.repeat(np.arange(len(known)), counts)
    means = np.add.reduceat(latents, known.offsets[:-1], axis=0) / counts[:, None]
    values = np.nan_to_num(vocabulary.standardised(known.properties))
    facts = np.concatenate([means, np.log(counts)[:, None], values], axis=1)
    rows = np.concatenate([latents - means[owner], means[owner]], axis=1)
    crystals = fit_gaussian_mixture(
        facts, _components(settings.crystals, facts), seed=seed, reg_covar=1e-3, max_iter=60
    )
    some = np.random.default_rng(seed).permutation(len(rows))[:ROWS]
    atoms = fit_gaussian_mixture(
        rows[some], _components(settings.atoms, rows[some]), seed=seed, reg_covar=1e-3, max_iter=40
    )
    tokens = vocabulary.tokens(known.species)
    width = len(vocabulary.elements) + 1
    shares = crystals.responsibilities(facts)
    present = np.zeros((len(known), width))
    present[owner, tokens] = 1.0
    element = np.zeros((len(rows), width))
    element[np.arange(len(rows)), tokens] = 1.0
    group = np.zeros((len(known), 231))
    group[np.arange(len(known)), known.space_groups] = 1.0
    return MixtureDensity(
        crystals,
        atoms,
        _log_shares(shares, present),
        _log_shares(atoms.responsibilities(rows), element),
        _log_shares(shares, group),
        vocabulary,
    )


def _components(wanted: int, rows: Floats) -> int:
    """At most one component for as many rows as a covariance has rows, twice."""
    return max(1, min(wanted, len(rows) // (2 * int(rows.shape[1]))))


def _log_shares(shares: Floats, occurrences: Floats) -> Floats:
    """Log share of every value in each component, smoothed by the whole; 0 for value 0."""
    table = shares.T @ occurrences
    table[:, 0] = 0.0
    whole = table.sum(axis=0)
    total = whole.sum()
    spread = whole / total if total else np.full(len(whole), 1.0 / len(whole))
    table += SMOOTHING * np.maximum(spread, 1e-9)
    found: Floats = np.log(table / table.sum(axis=1, keepdims=True))
    found[:, 0] = 0.0
    return found


def _conditional(
    mixture: GaussianMixture,
    rows: Floats,
    evidence: Floats,
    random: np.random.Generator,
    temperature: float,
    guidance: float,
) -> Floats:
    """Fill the NaN of every row by a draw, given its other entries and the evidence.

    Parameters
    ----------
    mixture
        Over D coordinates.
    rows
        Shape (n, D), NaN where to be drawn; coordinate 0 always is.
    evidence
        Log weights of components from elsewhere, shape (n, K).
    random
        Source of draws.
    temperature
        Factor on deviations.
    guidance
        Power of the evidence and of the given entries.
    """
    found = rows.copy()
    patterns, pattern_of = np.unique(np.isnan(rows), axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        mine = np.flatnonzero(pattern_of.reshape(-1) == number)
        free, given = np.flatnonzero(pattern), np.flatnonzero(~pattern)
        facts = rows[np.ix_(mine, given)]
        said = evidence[mine].copy()
        gains = []
        for k, (mean, covariance) in enumerate(
            zip(mixture.means, mixture.covariances, strict=True)
        ):
            factor = np.linalg.cholesky(covariance[np.ix_(given, given)])
            off = np.linalg.solve(factor, (facts - mean[given]).T)
            said[:, k] -= 0.5 * (off**2).sum(axis=0) + np.log(np.diagonal(factor)).sum()
            whitened = np.linalg.solve(factor, covariance[np.ix_(given, free)])
            rest = covariance[np.ix_(free, free)] - whitened.T @ whitened
            spread = np.linalg.cholesky(rest + 1e-9 * np.eye(len(free)))
            gains.append((off, whitened, spread))
        said *= guidance
        said += np.log(mixture.weights)
        # The largest of the log weights plus Gumbel noise is a draw by weight.
        component = (said + random.gumbel(size=said.shape)).argmax(axis=1)
        noise = random.standard_normal((len(mine), len(free))) * temperature
        for k in np.unique(component):
            off, whitened, spread = gains[k]
            here = np.flatnonzero(component == k)
            drawn = mixture.means[k][free] + off[:, here].T @ whitened + noise[here] @ spread.T
            found[np.ix_(mine[here], free)] = drawn
    return found
