"""The clustering that a run keeps: fitted on training groups, applied to anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from variolite.errors import DataError, RunFolderError, VarioliteError
from variolite.records import Records, write_bytes_atomic
from variolite.scoring.arrays import FloatArray, IntArray
from variolite.scoring.clusterers import (
    Clusterer,
    FittedClusterer,
    clusterer,
    fitted_from_arrays,
    needs_k,
)
from variolite.scoring.gmm import GaussianMixture
from variolite.scoring.health import ACTIVE_NATS
from variolite.scoring.selection import choose_k, distances, silhouette_values, stability
from variolite.training import RunFolder, TabularModel

MAX_ROWS = 30_000
SILHOUETTE_ROWS = 2_000


@dataclass(frozen=True)
class Clusters:
    """One fitted clustering for every member of a run.

    Attributes
    ----------
    algorithm, rule
        Name of the algorithm, and of the rule that chose k; "fixed" where it
        finds k itself.
    k
        Number of clusters of the first member.
    fitted
        Per member.
    active
        Latent dimensions that were used, per member, [M, L]; idle ones are
        taken as zero.
    """

    algorithm: str
    rule: str
    k: int
    fitted: tuple[FittedClusterer, ...]
    active: NDArray[np.bool_]

    def predict(self, latents: FloatArray, member: int = 0) -> IntArray:
        """Cluster of every row [n] from the posterior means [n, L] of a member."""
        return self.fitted[member].predict(np.where(self.active[member], latents, 0.0))


def active_means(model: TabularModel, records: Records, active: NDArray[np.bool_]) -> FloatArray:
    """Posterior means [M, n, L] with the dimensions that are not active [M, L] set to zero."""
    return np.where(active[:, None, :], model.encode(records), 0.0)


def active_dimensions(model: TabularModel, records: Records) -> NDArray[np.bool_]:
    """Return which dimensions have a mean KL above 0.01 nats over some rows, [M, L].

    The others are idle: they hold noise that some clusterings would blow up.
    """
    mean, log_variance = model.posterior(records)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1.0).mean(axis=1)
    active: NDArray[np.bool_] = kl > ACTIVE_NATS
    return active


def fit_clusters(
    run: RunFolder, training: Records, tell: Callable[[str], None] = lambda _: None
) -> Clusters:
    """Cluster the latents of the training rows as the recipe says, and keep the result.

    Parameters
    ----------
    run
        A finished run.
    training
        Rows of the training groups; at most 30,000 are drawn.
    tell
        Told what is being fitted.
    """
    spec = run.recipe().clustering
    model = run.model()
    active = active_dimensions(model, training)
    latents = active_means(model, training, active)
    kept = np.arange(len(training))
    if len(kept) > MAX_ROWS:
        kept = np.sort(np.random.default_rng(0).choice(kept, MAX_ROWS, replace=False))
    latents = latents[:, kept]
    groups = None if training.group is None else training.group[kept]
    if not needs_k(spec.algorithm):
        tell(spec.algorithm)
        fits = tuple(clusterer(spec.algorithm).fit(x, seed=i) for i, x in enumerate(latents))
        clusters = Clusters(spec.algorithm, "fixed", fits[0].n_clusters, fits, active)
    else:
        grid = [k for k in spec.k if k < len(kept)]
        if not grid:
            raise DataError(
                f"{len(kept)} training rows are too few for {min(spec.k)} clusters",
                where="clustering.k",
                hint="set smaller numbers, such as --set clustering.k=[2,3]",
            )
        by_k: dict[int, tuple[FittedClusterer, ...]] = {}
        criterion: dict[int, float] = {}
        for k in grid:
            tell(f"{spec.algorithm}, k = {k}")
            method = clusterer(spec.algorithm, k)
            by_k[k] = tuple(method.fit(x, seed=i) for i, x in enumerate(latents))
            values = [
                _CRITERIA[spec.rule](method, fit, x, groups)
                for fit, x in zip(by_k[k], latents, strict=True)
            ]
            criterion[k] = float(np.mean(values))
        chosen = choose_k(spec.rule, criterion)
        clusters = Clusters(spec.algorithm, spec.rule, chosen, by_k[chosen], active)
    _save(run, clusters)
    return clusters


def _bic(
    method: Clusterer, fitted: FittedClusterer, x: FloatArray, groups: np.ndarray | None
) -> float:
    del method, groups
    assert isinstance(fitted, GaussianMixture)  # a recipe that says otherwise does not load
    return fitted.bic(x)


def _silhouette(
    method: Clusterer, fitted: FittedClusterer, x: FloatArray, groups: np.ndarray | None
) -> float:
    del method, groups
    count = min(SILHOUETTE_ROWS, len(x))
    sample = x[np.random.default_rng(0).choice(len(x), count, replace=False)]
    return float(silhouette_values(distances(sample), fitted.predict(sample)).mean())


def _stability(
    method: Clusterer, fitted: FittedClusterer, x: FloatArray, groups: np.ndarray | None
) -> float:
    del fitted
    return stability(method, x, groups=groups)


_CRITERIA: Mapping[
    str, Callable[[Clusterer, FittedClusterer, FloatArray, np.ndarray | None], float]
] = {"bic": _bic, "silhouette": _silhouette, "stability": _stability}


def _save(run: RunFolder, clusters: Clusters) -> None:
    arrays = {
        f"{member}.{name}": np.ascontiguousarray(values)
        for member, fitted in enumerate(clusters.fitted)
        for name, values in fitted.to_arrays().items()
    }
    arrays["active"] = clusters.active.astype(np.uint8)
    meta = {
        "format": 1,
        "algorithm": clusters.algorithm,
        "rule": clusters.rule,
        "k": clusters.k,
        "members": len(clusters.fitted),
    }
    content = safetensors.numpy.save(arrays, metadata={"variolite": json.dumps(meta)})
    write_bytes_atomic(run.clusters_file, content)


def load_clusters(run: RunFolder) -> Clusters:
    """Read the clustering of a run.

    Raises
    ------
    RunFolderError
        If there is none, or it is damaged.
    """
    path = run.clusters_file
    run.require_finished()
    if not path.is_file():
        raise RunFolderError(
            "the run has no clustering", where=str(run.path), hint="run `variolite fit` again"
        )
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            meta = json.loads(file.metadata()["variolite"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        fitted = tuple(
            fitted_from_arrays(
                meta["algorithm"],
                {
                    key.partition(".")[2]: values
                    for key, values in arrays.items()
                    if key.partition(".")[0] == str(member)
                },
            )
            for member in range(meta["members"])
        )
        active = arrays["active"].astype(bool)
        return Clusters(meta["algorithm"], meta["rule"], meta["k"], fitted, active)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, VarioliteError) as error:
        raise RunFolderError(
            f"the clustering is damaged ({type(error).__name__})",
            where=str(path),
            hint="copy the run folder again, or run `variolite fit` again",
        ) from None
