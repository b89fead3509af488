"""Values that are missing because of the rock: what modelling their absence changes."""

import numpy as np
import torch
from toy_tables import fit, small, table_of

from variolite.vae import Joint

LOADINGS = np.array([0.9, 0.6, 0.5, 0.4])


def test_presence_has_the_probability_of_independent_coins():
    source = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 5, 3), generator=source)
    observed = torch.rand((1, 5, 3), generator=source) < 0.5
    coins = torch.distributions.Bernoulli(logits=logits)
    for mask in (observed, None):
        value = torch.ones(1, 5, 3) if mask is None else mask.float()
        expected = coins.log_prob(value).sum(-1)
        torch.testing.assert_close(Joint(None, presence=logits).log_presence(mask), expected)


def test_the_bias_of_imputed_values_shrinks_where_absence_depends_on_the_factor():
    source = np.random.default_rng(0)
    factor = source.normal(size=(2000, 1))
    values = factor * LOADINGS + source.normal(size=(2000, 4)) * np.sqrt(1.0 - LOADINGS**2)
    gone = source.random(2000) < 1.0 / (1.0 + np.exp(-4.0 * (factor[:, 0] - 0.7)))
    observed = values.copy()
    observed[gone, 0] = np.nan
    schema, records = table_of(observed, {"missing": "mask", "transform": ["standardise"]})
    bias = {}
    for missingness in (False, True):
        model = small(encoder=(16,), decoder=(), missingness=missingness)
        ramp = {"kind": "linear", "epochs": 3}
        settings = {
            "epochs": 20,
            "beta": ramp,
            "batch_size": 64,
            "patience": None,
            "learning_rate": 0.01,
        }
        fitted = fit(schema, records, None, model, **settings).model
        decoded = fitted.reconstruct(records)[0, gone, 0]
        bias[missingness] = float(np.mean(decoded - values[gone, 0]))
    assert bias[False] < -0.8
    assert 0.75 * bias[False] < bias[True] < 0.0
