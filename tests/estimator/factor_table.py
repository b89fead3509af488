"""A table drawn from a Gaussian with two factors, all of whose densities are known."""

import numpy as np

MIXING = np.array([[1.0, 0.8, -0.5, 0.3], [0.0, 0.6, 1.0, -0.9]])
NOISE = 0.4
OFFSET = np.array([10.0, -3.0, 200.0, 0.5])
SCALE = np.array([1.0, 0.1, 50.0, 2.0])
COVARIANCE = (MIXING.T @ MIXING + NOISE**2 * np.eye(4)) * np.outer(SCALE, SCALE)


def factor_table(rows, seed):
    """Draw rows of a two-factor Gaussian with four columns of different scale."""
    rng = np.random.default_rng(seed)
    core = rng.normal(size=(rows, 2)) @ MIXING + NOISE * rng.normal(size=(rows, 4))
    return OFFSET + SCALE * core
