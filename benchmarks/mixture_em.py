"""Gaussian mixtures, k-means and silhouettes beside scikit-learn, on latents of logs.

    python -m benchmarks.mixture_em --data wells.parquet                     about 20 minutes
    python -m benchmarks.mixture_em --rows 5000 --repeats 2 --epochs 5       a trial

The default recipe for boreholes is trained on FORCE 2020 with two seeds; what is clustered are
posterior means of the rows of its training wells: all ten dimensions, and those in use alone,
which is what ``variolite fit`` clusters. Both mixtures have full covariances, the same
regularisation, tolerance, most iterations and k-means starts of the same seed, in float64.
"""

from __future__ import annotations

import inspect
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from benchmarks.side_by_side import DATA, in_turn, parsed, publish, rounded, tabulated, times
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_samples
from sklearn.mixture import GaussianMixture

from variolite.recipe import load_recipe
from variolite.scoring.algorithms import fit_kmeans
from variolite.scoring.clustering import distances, silhouette_values
from variolite.scoring.gmm import fit_gaussian_mixture
from variolite.scoring.kept_clusters import active_dimensions
from variolite.training import fit_tabular, members_for
from variolite.training.run import prepare

KS, SWEEP = (4, 9, 18), (4, 6, 9, 12, 15, 18)
SETTINGS = {"max_iter": 200, "tol": 1e-3, "reg_covar": 1e-6}
SILHOUETTE_ROWS = 2000


def latents(data: Path, rows: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means of training rows, (2, rows, 10), and which dimensions are in use, (2, 10)."""
    recipe = load_recipe("corelogs/default")
    training = recipe.training.model_copy(update={"epochs": epochs})
    prepared, source = prepare(recipe, data), np.random.default_rng(0)

    def drawn(part: str, most: int) -> Any:
        records = prepared.part(part)
        return records.take(source.permutation(len(records))[:most])

    known, validation = drawn("train", rows), drawn("validation", 10_000)
    members = members_for(training, recipe.model, seeds=2)
    first = known.take(np.arange(min(40_000, rows)))
    model = fit_tabular(prepared.schema, first, validation, recipe.model, training, members).model
    return model.encode(known).astype(np.float64), active_dimensions(model, known)


def em_alone(x: np.ndarray, k: int, repeats: int, *, narrow: bool) -> dict[str, Any]:
    """Iterations from the same components of the same rows, without k-means.

    With ``narrow`` scikit-learn is also given the rows in float32, in which it then computes.
    """
    start = fit_kmeans(x, k, n_init=1).predict(x)
    parts = [x[start == component] for component in range(k)]
    floor = SETTINGS["reg_covar"] * np.eye(x.shape[1])
    library = GaussianMixture(
        k,
        weights_init=np.array([len(part) for part in parts]) / len(x),
        means_init=np.stack([part.mean(axis=0) for part in parts]),
        precisions_init=np.linalg.inv([np.cov(part.T, bias=True) + floor for part in parts]),
        **SETTINGS,
    )
    ways = {
        "ours": lambda: fit_gaussian_mixture(x, k, start=start, **SETTINGS),
        "library": lambda: clone(library).fit(x),
    }
    if narrow:
        ways["float32"] = lambda: clone(library).fit(x.astype(np.float32))
    timed = in_turn(ways, repeats, warm=narrow)
    ours, theirs = timed.found["ours"], timed.found["library"]
    figures = {
        "rows": len(x),
        "dimensions": x.shape[1],
        "k": k,
        "iterations": [ours.iterations, int(theirs.n_iter_)],
        "log_likelihood": [ours.log_likelihood, float(theirs.lower_bound_)],
        "parameters_differ": max(
            float(np.abs(one - other).max())
            for one, other in (
                (ours.weights, theirs.weights_),
                (ours.means, theirs.means_),
                (ours.covariances, theirs.covariances_),
            )
        ),
        "same_cluster": float((ours.predict(x) == theirs.predict(x)).mean()),
        "seconds": {way: timed.median(way) for way in timed.seconds},
        "ratio": timed.ratio("library"),
        "ratio_float32": timed.ratio("float32") if narrow else None,
    }
    print(figures, flush=True)
    return figures


def sweep(members: list[np.ndarray], ks: tuple[int, ...], starts: int, repeats: int) -> Any:
    """All k for all members with k-means starts, and the information criterion of each."""

    def ours(x: np.ndarray, k: int, seed: int) -> Any:
        return fit_gaussian_mixture(x, k, seed=seed, n_init=starts, **SETTINGS)

    def library(x: np.ndarray, k: int, seed: int) -> Any:
        # From the seeds that ours draws for its k-means, so that the starts are the same.
        source = np.random.default_rng(seed)
        same = [int(source.integers(2**31)) for _ in range(starts)]
        fits = [GaussianMixture(k, random_state=state, **SETTINGS).fit(x) for state in same]
        return max(fits, key=lambda fit: fit.lower_bound_)

    def criteria(fit: Any) -> np.ndarray:
        return np.array([[fit(x, k, i).bic(x) for i, x in enumerate(members)] for k in ks])

    ways = {"ours": partial(criteria, ours), "library": partial(criteria, library)}
    timed = in_turn(ways, repeats, warm=False)
    found = [timed.found[way] for way in ways]
    # At equal k the criteria differ by the log-likelihood alone.
    gain = (found[0] - found[1]) / (2 * len(members[0]))
    figures = {
        "rows": len(members[0]),
        "dimensions": [x.shape[1] for x in members],
        "k": ks,
        "starts": starts,
        "library_log_likelihood_less_ours": gain.tolist(),
        "k_chosen": [ks[int(bic.mean(axis=1).argmin())] for bic in found],
        "seconds": {way: timed.median(way) for way in ways},
        "ratio": timed.ratio("library"),
    }
    print(figures, flush=True)
    return figures


def others(x: np.ndarray, repeats: int) -> list[dict[str, Any]]:
    """K-means and silhouettes: time of both, and how far the results are apart."""
    sample = x[:SILHOUETTE_ROWS]
    clusterings = [fit_kmeans(x, k, n_init=1).predict(sample) for k in SWEEP]
    ours, library = fit_kmeans(x, 9), KMeans(9, n_init=10, random_state=0)
    fitted = clone(library).fit(x)

    def silhouettes() -> list[np.ndarray]:
        matrix = distances(sample)
        return [silhouette_values(matrix, clusters) for clusters in clusterings]

    tasks: dict[str, tuple[Any, ...]] = {
        "k-means, k = 9, 10 starts": (
            lambda: fit_kmeans(x, 9).centres,
            lambda: clone(library).fit(x).cluster_centers_,
            fit_kmeans,
        ),
        "nearest centres": (
            lambda: ours.predict(x),
            lambda: fitted.predict(x),
            type(ours).predict,
        ),
        f"silhouettes of {len(sample):,} rows in {len(SWEEP)} clusterings": (
            silhouettes,
            lambda: [silhouette_samples(sample, clusters) for clusters in clusterings],
            distances,
            silhouette_values,
        ),
    }
    rows = []
    for task, (way, same, *functions) in tasks.items():
        timed = in_turn({"ours": way, "library": same}, repeats)
        one, other = (np.asarray(timed.found[name]) for name in ("ours", "library"))
        rows.append(
            {
                "task": task,
                "functions": [function.__qualname__ for function in functions],
                "lines": sum(len(inspect.getsourcelines(f)[0]) for f in functions),
                "greatest_difference": float(np.abs(one - other).max()),
                "seconds": {name: timed.median(name) for name in timed.seconds},
                "ratio": timed.ratio("library"),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Train, measure and write the page."""
    arguments = parsed(
        __doc__, DATA / "corelogs/force2020/wells.parquet", rows=100_000, epochs=100, repeats=5
    )
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)  # iterations are in the table
    every, active = latents(arguments.data, arguments.rows, arguments.epochs)
    used = [x[:, kept] for x, kept in zip(every, active, strict=True)]
    few, kept = arguments.rows // 5, 3 * arguments.rows // 10
    most = min(arguments.repeats, 3)
    em = [
        em_alone(x, k, arguments.repeats, narrow=True)
        for x in (used[0][:few], every[0][:few])
        for k in KS
    ]
    em += [em_alone(every[0], k, most, narrow=False) for k in KS]
    members = [x[:kept] for x in used]
    sweeps = [sweep(members, SWEEP, 1, most), sweep(members, (9,), 3, most)]
    figures = {"em": em, "sweeps": sweeps, "others": others(members[0], arguments.repeats)}
    title = "Gaussian mixtures, k-means and silhouettes beside scikit-learn"
    packages = ("numpy", "scikit-learn")
    publish("mixture_em:mixture_em", arguments, packages, title, figures, lines_of(figures))


def lines_of(figures: dict[str, Any]) -> list[str]:
    """The tables as Markdown."""
    seconds: dict[str, Any] = {
        "ours, s": lambda r: rounded(r["seconds"]["ours"]),
        "scikit-learn, s": lambda r: rounded(r["seconds"]["library"]),
        "times faster": lambda r: times(r["ratio"]),
    }
    size: dict[str, Any] = {
        "rows": lambda r: f"{r['rows']:,}",
        "dimensions": lambda r: str(r["dimensions"]).strip("[]"),
        "k": lambda r: str(r["k"]).strip("(),"),
    }
    return [
        "Rows: posterior means of the default borehole recipe, trained on FORCE 2020 with two "
        "seeds. Fewer than ten dimensions are those in use, which `variolite fit` clusters. "
        f"Full covariances; {', '.join(f'{k} {v:g}' for k, v in SETTINGS.items())}.",
        "",
        "## Expectation maximisation from the same start",
        "",
        *tabulated(
            figures["em"],
            {
                **size,
                "iterations: ours, scikit-learn": lambda r: "{}, {}".format(*r["iterations"]),
                "log-likelihood of a row: ours": lambda r: f"{r['log_likelihood'][0]:.4f}",
                "scikit-learn's less ours": lambda r: f"{-np.subtract(*r['log_likelihood']):+.0e}",
                "greatest difference of a parameter": lambda r: f"{r['parameters_differ']:.0e}",
                "same cluster": lambda r: f"{100 * r['same_cluster']:.2f} %",
                **seconds,
                "than scikit-learn in float32": lambda r: (
                    times(r["ratio_float32"]) if r["ratio_float32"] else ""
                ),
            },
        ),
        "",
        "## Sweeps over k with k-means starts",
        "",
        "Two members; the information criterion of every fit is included. K-means, which gives "
        "the starts, is scikit-learn's on both sides, with the same seeds.",
        "",
        *tabulated(
            figures["sweeps"],
            {
                **size,
                "starts": lambda r: str(r["starts"]),
                "log-likelihood of a row, scikit-learn's less ours: least, greatest": lambda r: (
                    f"{np.min(r['library_log_likelihood_less_ours']):+.0e}, "
                    f"{np.max(r['library_log_likelihood_less_ours']):+.0e}"
                ),
                "k chosen: ours, scikit-learn": lambda r: "{}, {}".format(*r["k_chosen"]),
                **seconds,
            },
        ),
        "",
        "## The rest of the clustering",
        "",
        *tabulated(
            figures["others"],
            {
                "task": lambda r: r["task"],
                "greatest difference": lambda r: f"{r['greatest_difference']:.0e}",
                **seconds,
                "ours: lines": lambda r: f"`{'`, `'.join(r['functions'])}`: {r['lines']}",
            },
        ),
    ]


if __name__ == "__main__":
    main()
