"""Time the hidden Markov model beside hmmlearn's, and compare what they find.

    python -m benchmarks.hidden_markov

SIMULATED rows of five features in six states that share a covariance: wells of many rows, and cores
of many gaps. Both get the same parameters; the fit is ten iterations. Writes
``benchmarks/results/hidden_markov.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import logging
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from hmmlearn.hmm import GaussianHMM

from variolite.scoring.hmm import ANY, FLOOR, ITERATIONS, STAY, Whitening, fit_hmm, stationary
from variolite.scoring.intervals import FloatArray
from variolite.scoring.sequences import Sequences

CASES = {
    "58 wells of 500 rows": (58, 500, 500),
    "40 cores of 500 rows in pieces of 8": (40, 500, 8),
    "3,000 cores of 10 rows": (3000, 10, 10),
}
REPEATS = 3


def drawn(wells: int, rows: int, piece: int) -> tuple[FloatArray, Sequences, FloatArray]:
    """Rows [n, 5] of layers of 20 rows on average, their sequences, and the centres [6, 5]."""
    source = np.random.default_rng(0)
    centres = 1.5 * source.normal(size=(6, 5))
    fresh = source.random(wells * rows) < 0.05
    fresh[::rows] = True
    state = source.integers(0, 6, fresh.sum())[np.cumsum(fresh) - 1]
    x = centres[state] + source.normal(size=(len(state), 5))
    within = np.tile(np.arange(rows), wells)
    return (
        x,
        Sequences.of(np.repeat(np.arange(wells), rows), within + 100.0 * (within // piece)),
        (centres),
    )


def best(run: object, *arguments: object) -> tuple[float, object]:
    """Shortest seconds of a few runs, and the result."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        result = run(*arguments)  # type: ignore[operator]
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


def peer(white: FloatArray, centres: FloatArray) -> GaussianHMM:
    """Set up hmmlearn's model as ours starts."""
    k, d = centres.shape
    nearest = ((white[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    apart = white - centres[nearest]
    model = GaussianHMM(k, "tied", n_iter=1, params="tmc", init_params="", covars_prior=0.0)
    model.n_features, model.means_ = d, centres
    model.covars_ = apart.T @ apart / len(white) + FLOOR * np.eye(d)
    prior = ANY + STAY * np.eye(k)
    model.transmat_ = prior / prior.sum(axis=1, keepdims=True)
    model.transmat_prior = 1.0 + prior
    model.startprob_ = stationary(model.transmat_)
    return model


def fit_peer(white: FloatArray, centres: FloatArray, lengths: FloatArray) -> GaussianHMM:
    """Ten iterations, with our floor on the covariance and our start of a sequence."""
    model = peer(white, centres)
    for _ in range(ITERATIONS):
        model.fit(white, lengths)
        model.covars_ = model._covars_ + FLOOR * np.eye(white.shape[1])
        model.startprob_ = stationary(model.transmat_)
    return model


def main() -> None:
    """Time all cases and write the page."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    made = provenance(
        command("benchmarks.hidden_markov", argparse.Namespace()), ("numpy", "hmmlearn")
    )
    rows, values = [], {}
    for name, case in CASES.items():
        x, sequences, centres = drawn(*case)
        whitening = Whitening.of(x)
        start, white = whitening(centres), whitening(x)
        own, ours = best(fit_hmm, x, whitening, start, sequences)
        ordered = white[sequences.rows]
        other, theirs = best(fit_peer, ordered, start, sequences.lengths)
        path, found = best(ours.predict, x, sequences)
        their_path, their_found = best(theirs.predict, ordered, sequences.lengths)
        chance, share = best(ours.probabilities, x, sequences)
        their_chance, their_share = best(theirs.predict_proba, ordered, sequences.lengths)
        result = {
            "fit_s": [own, other],
            "path_s": [path, their_path],
            "probabilities_s": [chance, their_chance],
            "largest difference of transitions": float(
                np.abs(ours.transitions - theirs.transmat_).max()
            ),
            "largest difference of probabilities": float(
                np.abs(share[sequences.rows] - their_share).max()
            ),
            "rows with the same state": float((found[sequences.rows] == their_found).mean()),
        }
        values[name] = result
        pairs = (result[key] for key in ("fit_s", "path_s", "probabilities_s"))
        rows.append(
            [name, *(f"{a:.2f} / {b:.2f} ({b / a:.1f}x)" for a, b in pairs)]
            + [f"{value:.2g}" for value in list(result.values())[3:]]
        )
    heads = ["SIMULATED rows", "fit: ours / hmmlearn, s", "path", "probabilities"]
    heads += ["transitions differ by", "probabilities by", "same path"]
    text = [
        f"Shortest of {REPEATS} runs on one core; ours takes a step of all sequences at once, "
        "hmmlearn goes through one sequence after another.",
        "",
        *table(heads, rows),
    ]
    write_page(RESULTS / "hidden_markov", "Hidden Markov model beside hmmlearn", text, values, made)


if __name__ == "__main__":
    main()
