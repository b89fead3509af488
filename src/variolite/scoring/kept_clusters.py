"""The clustering that a run keeps: fitted on training groups, applied to anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.errors import DataError, RunFolderError
from variolite.records import Records
from variolite.scoring.algorithms import (
    FittedClusterer,
    fitted_from_arrays,
    fitted_to_arrays,
    predict_along,
    probability_along,
)
from variolite.scoring.clustering import (
    MAX_TRAIN_ROWS,
    SILHOUETTE_ROWS,
    ClusteringPlan,
    Fit,
    FitRows,
    choose_k,
    draw,
    fit_grid,
)
from variolite.scoring.gmm import GaussianMixture
from variolite.scoring.health import ACTIVE_NATS, kl_from_normal
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.sequences import Sequences
from variolite.training import RunFolder, TabularModel
from variolite.training.storage import reading_arrays, write_arrays


@dataclass(frozen=True)
class Clusters:
    """One fitted clustering for every member of a run.

    ``rule`` is what chose k, "fixed" where the algorithm finds k itself; ``k`` is that of the
    first member. Of the latents only the dimensions ``active`` [M, L] were used; idle ones are
    taken as zero.
    """

    algorithm: str
    rule: str
    k: int
    fitted: tuple[FittedClusterer, ...]
    active: NDArray[np.bool_]

    def predict(self, latents: FloatArray, along: Sequences, member: int = 0) -> IntArray:
        """Cluster of every row [n] from the posterior means [n, L] of a member."""
        return predict_along(self.fitted[member], self._active(latents, member), along)

    def predict_all(self, latents: FloatArray, along: Sequences) -> list[IntArray]:
        """Clusters of every row from the posterior means [M, n, L], per member."""
        return [self.predict(own, along, member) for member, own in enumerate(latents)]

    def probability(
        self, latents: FloatArray, clusters: IntArray, along: Sequences, member: int = 0
    ) -> FloatArray:
        """Probability of the cluster that every row was given, [n]; NaN where there is none."""
        active = self._active(latents, member)
        return probability_along(self.fitted[member], active, clusters, along)

    def _active(self, latents: FloatArray, member: int) -> FloatArray:
        return np.where(self.active[member], latents, 0.0)


def along_depth(records: Records) -> Sequences:
    """Sort records by group and depth; as they come where there is no depth."""
    group = np.zeros(len(records)) if records.group is None else records.group
    return Sequences.of(group, records.order)


def active_means(model: TabularModel, records: Records, active: NDArray[np.bool_]) -> FloatArray:
    """Posterior means [M, n, L] with the dimensions that are not active [M, L] set to zero."""
    return np.where(active[:, None, :], model.encode(records), 0.0)


def active_dimensions(model: TabularModel, records: Records) -> NDArray[np.bool_]:
    """Return which dimensions have a mean KL above 0.01 nats over some rows, [M, L].

    The others are idle: they hold noise that some clusterings would blow up.
    """
    return _active_of(model, *model.posterior(records))


def _active_of(
    model: TabularModel, means: FloatArray, log_variances: FloatArray
) -> NDArray[np.bool_]:
    nats = kl_from_normal(means, log_variances, model.prior_moments())
    active: NDArray[np.bool_] = nats > ACTIVE_NATS
    return active


def fit_clusters(
    run: RunFolder, training: Records, log: Callable[[str], None] = lambda _: None
) -> Clusters:
    """Cluster the latents of the training rows as the recipe says, and keep the result.

    At most 30,000 rows are drawn, the same for every member.
    """
    spec, model = run.recipe().clustering, run.model()
    if spec.algorithm == "prior":
        clusters = prior_clusters(model)
        _save(run, clusters)
        return clusters
    n = min(len(training), MAX_TRAIN_ROWS)
    ks = spec.ks_below(n)
    plan = ClusteringPlan(algorithms=(spec.algorithm,), ks=ks, rules=(spec.rule,))
    means, log_variances = model.posterior(training)
    active = _active_of(model, means, log_variances)
    # The same rows for every member, so that their criteria can be averaged.
    generator = np.random.default_rng(0)
    kept = draw(generator, len(training), MAX_TRAIN_ROWS)
    sample = draw(generator, n, SILHOUETTE_ROWS)
    groups = None if training.group is None else training.group[kept]
    along = along_depth(training)
    fits: dict[int | None, list[Fit]] = {}
    for member, latents in enumerate(np.where(active[:, None, :], means, 0.0)):
        rows = FitRows(latents[kept], groups, sample, member, latents, along)
        for name, k, fit in fit_grid(rows, plan):
            fits.setdefault(k, []).append(fit)
            log(f"member {member}: {name}{'' if k is None else f', k = {k}'}")
    rule, chosen = ("fixed", None) if None in fits else (spec.rule, choose_k(spec.rule, fits))
    if chosen not in fits:
        raise DataError(f"the criterion of rule {rule!r} is undefined at every k", where="rules")
    fitted = tuple(fit.fitted for fit in fits[chosen])
    clusters = Clusters(spec.algorithm, rule, fitted[0].n_clusters, fitted, active)
    _save(run, clusters)
    return clusters


def prior_clusters(model: TabularModel) -> Clusters:
    """Take the components of the prior for clusters; all dimensions count."""
    every = model.prior_components()
    fitted = tuple(
        GaussianMixture(weights, means, variances[:, :, None] * np.eye(means.shape[1]))
        for weights, means, variances in zip(*every, strict=True)
    )
    active = np.ones((len(fitted), every[1].shape[2]), dtype=bool)
    return Clusters("prior", "fixed", fitted[0].n_clusters, fitted, active)


def _save(run: RunFolder, clusters: Clusters) -> None:
    arrays = {
        f"{member}.{name}": values
        for member, fitted in enumerate(clusters.fitted)
        for name, values in fitted_to_arrays(fitted).items()
    }
    arrays["active"] = clusters.active.astype(np.uint8)
    meta = {
        "format": 1,
        "algorithm": clusters.algorithm,
        "rule": clusters.rule,
        "k": clusters.k,
        "members": len(clusters.fitted),
    }
    write_arrays(run.clusters_file, arrays, meta)


def load_clusters(run: RunFolder) -> Clusters:
    """Read the clustering of a run; RunFolderError if there is none, or it is damaged."""
    run.require_finished()
    path = run.whole(run.clusters_file)
    if not path.is_file():
        raise RunFolderError(
            "the run has no clustering", where=str(run.path), hint="run `variolite fit` again"
        )
    with reading_arrays(path, "clustering") as (meta, arrays):
        active = arrays.pop("active").astype(bool)
        by_member: dict[int, dict[str, NDArray[Any]]] = {}
        for key, values in arrays.items():
            member, _, name = key.partition(".")
            by_member.setdefault(int(member), {})[name] = values
        algorithm = meta["algorithm"]
        fitted = tuple(
            fitted_from_arrays(algorithm, by_member[member]) for member in range(meta["members"])
        )
        return Clusters(algorithm, meta["rule"], meta["k"], fitted, active)
