"""The hidden Markov model against every path counted one by one, and on layers with known truth."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from variolite.errors import DataError
from variolite.scoring import hmm
from variolite.scoring.algorithms import fit_kmeans
from variolite.scoring.hmm import HiddenMarkov, Whitening, fit_hmm, stationary
from variolite.scoring.sequences import Sequences


def small_model(seed=0):
    source = np.random.default_rng(seed)
    square = source.normal(size=(2, 4))
    return HiddenMarkov(
        centre=source.normal(size=3),
        projection=source.normal(size=(3, 2)),
        transitions=source.dirichlet([1, 1, 1], 3),
        means=source.normal(size=(3, 2)),
        covariance=square @ square.T / 4 + 0.1 * np.eye(2),
    )


def by_enumeration(model, x):
    """The best path, chances of states by row and numbers of transitions, from all k^n paths."""
    white = (x - model.centre) @ model.projection
    density = np.array(
        [multivariate_normal(mean, model.covariance).pdf(white) for mean in model.means]
    ).reshape(3, -1)
    start = stationary(model.transitions)
    chance, share, moves = {}, np.zeros((len(x), 3)), np.zeros((3, 3))
    for path in product(range(3), repeat=len(x)):
        p = start[path[0]] * density[path[0], 0]
        for row in range(1, len(x)):
            p *= model.transitions[path[row - 1], path[row]] * density[path[row], row]
        chance[path] = p
        share[range(len(x)), path] += p
        np.add.at(moves, (path[:-1], path[1:]), p)
    total = sum(chance.values())
    return max(chance, key=chance.get), share / total, moves / total


@pytest.mark.parametrize("seed", range(3))
def test_states_are_those_of_all_paths_counted(seed):
    model = small_model(seed)
    x = np.random.default_rng(seed + 10).normal(size=(9, 3))
    # Two holes of unsorted rows: the second has a gap, so that there are three sequences.
    groups = np.array(list("bababbaaa"))
    depth = np.array([3.0, 2.0, 1.0, 3.0, 2.0, 30.0, 1.0, 4.0, 5.0])
    sequences = Sequences.of(groups, depth)
    path, share = model.predict(x, sequences), model.probabilities(x, sequences)
    expected_moves = np.zeros((3, 3))
    for rows in ([6, 1, 3, 7, 8], [2, 4, 0], [5]):
        best, expected, moves = by_enumeration(model, x[rows])
        expected_moves += moves
        assert path[rows].tolist() == list(best)
        np.testing.assert_allclose(share[rows], expected, rtol=1e-8)
    steps = hmm._Steps.of(sequences)
    found = hmm._forward_backward(steps, model._log_density(x)[steps.rows], model.transitions)
    np.testing.assert_allclose(found[1], expected_moves, rtol=1e-8)
    alone, expected, _ = by_enumeration(model, x[:1])
    assert model.predict(x)[0] == alone[0]
    np.testing.assert_allclose(model.probabilities(x)[:1], expected, rtol=1e-8)


def test_stationary_shares_stay():
    transitions = np.random.default_rng(0).dirichlet([1, 2, 3, 4], 4)
    shares = stationary(transitions)
    np.testing.assert_allclose(shares @ transitions, shares, atol=1e-12)
    assert shares.sum() == pytest.approx(1)


def layers(seed=0, holes=6, rows=400, noise=1.0):
    """Layers of about 25 rows in three rocks that overlap; and the rock of every row."""
    source = np.random.default_rng(seed)
    rock = np.empty((holes, rows), np.int64)
    for hole in rock:
        hole[0] = source.integers(3)
        for i in range(1, rows):
            hole[i] = source.integers(3) if source.random() < 0.04 else hole[i - 1]
    rock = rock.ravel()
    centres = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    x = centres[rock] + noise * source.normal(size=(len(rock), 2)) + 100.0
    return x, Sequences.of(np.repeat(np.arange(holes), rows), np.tile(np.arange(rows), holes)), rock


def test_layers_are_found_where_single_rows_are_ambiguous():
    from sklearn.metrics import adjusted_rand_score

    x, sequences, rock = layers()
    whitening = Whitening.of(x)
    np.testing.assert_allclose(np.cov(whitening(x).T), np.eye(2), atol=1e-9)
    start = fit_kmeans(whitening(x), 3, n_init=3)
    model = fit_hmm(x, whitening, start.centres, sequences)
    path = model.predict(x, sequences)
    by_row = adjusted_rand_score(rock, start.predict(whitening(x)))
    assert adjusted_rand_score(rock, path) > 0.85 > by_row + 0.2
    assert np.diag(model.transitions) == pytest.approx(1 - 0.04 * 2 / 3, abs=0.02)
    own = model.probabilities(x, sequences)[np.arange(len(x)), path]
    # Probabilities are calibrated: as many rows are right as they say.
    table = np.array([np.bincount(rock[path == state], minlength=3) for state in range(3)])
    assert table.max(axis=1).sum() / len(x) == pytest.approx(own.mean(), abs=0.02)
    new, along, truth = layers(seed=5)
    assert adjusted_rand_score(truth, model.predict(new, along)) > 0.85


def test_rows_that_repeat_leave_a_model():
    x = np.repeat([[0.0, 1.0], [5.0, 2.0], [3.0, 9.0]], 30, axis=0)
    sequences = Sequences.of(np.zeros(90))
    whitening = Whitening.of(x)
    model = fit_hmm(x, whitening, fit_kmeans(whitening(x), 3).centres, sequences)
    assert len(set(model.predict(x, sequences)[[0, 40, 80]])) == 3
    with pytest.raises(DataError, match="no feature varies"):
        Whitening.of(np.full((1000, 2), 0.1))
