"""Log-likelihood bounds in original units: by hand, by integration, by change of unit."""

import numpy as np
import polars as pl
import pytest
import torch
from torch.distributions import Categorical, Normal, StudentT, kl_divergence
from toy_tables import fit, fitted, table_of

from variolite.errors import TrainingError
from variolite.records import FittedSchema
from variolite.training import TabularModel
from variolite.vae import batch as batches
from variolite.vae.tabular import LEAST_FREEDOM


def _fit(schema, records, epochs):
    settings = {"beta": {"kind": "constant"}, "batch_size": 64, "learning_rate": 0.02}
    return fit(schema, records, epochs=epochs, **settings).model


@pytest.fixture(scope="module")
def mixed():
    """A skewed, gappy column, a heavy-tailed one and a category."""
    source = np.random.default_rng(0)
    n = 240
    hidden = source.normal(size=n)
    level = (hidden > 0.0).astype(int)
    a = np.exp(hidden + 0.2 * source.normal(size=n))
    a[source.random(n) < 0.2] = np.nan
    b = 40.0 * hidden + 5.0 * source.standard_t(3, size=n)
    rock = np.array(["", "clay", "sand"])[np.where(source.random(n) < 0.1, 0, level + 1)]
    frame = pl.DataFrame({"a": a, "b": b, "rock": rock})
    columns = {
        "a": {"transform": ["signed_log", "standardise"], "missing": "mask"},
        "b": {"likelihood": "student_t"},
        "rock": {"kind": "category", "missing": "mask"},
    }
    schema, records = fitted(frame, columns)
    model = _fit(schema, records, epochs=40)
    assert model.posterior(records)[1].min() < -1.0, "the posterior is the prior: a weak test"
    assert not records.observed.all()
    assert (records.category < 0).any()
    assert model.module.architecture.mask_input, "the network is not given what is missing"
    assert model.module.architecture.likelihoods == ("gaussian", "student_t")
    return model, records, frame


def _by_hand(model, records, row, noise):
    """The evidence lower bound of one row in original units, term by term."""
    one = records.take([row])
    mean, log_variance = (torch.tensor(v[0, 0]) for v in model.posterior(one))
    posterior = Normal(mean, torch.exp(0.5 * log_variance))
    bound = -float(kl_divergence(posterior, Normal(0.0, 1.0)).sum())
    z = (mean + posterior.stddev * noise).float().reshape(1, 1, -1)
    module = model.module
    with torch.no_grad():
        out = module.decoder(z)[0, 0].double()
        scale = module.log_scale[0, 0].double().exp()
        freedom = LEAST_FREEDOM + torch.log1p(module.free[0, 0, 1].double().exp())
    families = (Normal(out[0], scale[0]), StudentT(freedom, out[1], scale[1]))
    for column, family in enumerate(families):
        if not one.observed[0, column]:
            continue
        at, step = float(one.numeric[0, column]), 1e-5
        below, above = model.schema.inverse([[at - step] * 2, [at + step] * 2])[:, column]
        bound += float(family.log_prob(torch.tensor(at))) - np.log((above - below) / (2.0 * step))
    if one.category[0, 0] >= 0:
        bound += float(Categorical(logits=out[2:]).log_prob(torch.tensor(one.category[0, 0])))
    return bound


def test_the_bound_equals_a_computation_by_hand(mixed):
    model, records, _ = mixed
    found = model.evidence(records, seed=5)
    assert found.shape == (1, len(records))
    noise = torch.randn((len(records), 2), generator=torch.Generator().manual_seed(5))
    expected = [_by_hand(model, records, row, noise[row].double()) for row in range(40)]
    np.testing.assert_allclose(found[0, :40], expected, rtol=0.0, atol=2e-4)
    assert np.array_equal(found, model.evidence(records, seed=5))
    assert not np.array_equal(found, model.evidence(records, seed=6))


def test_more_samples_give_a_tighter_bound(mixed):
    model, records, _ = mixed
    few, more, many = (
        np.mean([model.evidence(records, samples=k, seed=s).mean() for s in range(6)])
        for k in (1, 5, 50)
    )
    assert few < more < many
    with pytest.raises(TrainingError, match="Ask for 1"):
        model.evidence(records, samples=0)


def test_blocks_of_rows_do_not_share_their_noise(mixed, monkeypatch):
    model, records, _ = mixed
    monkeypatch.setattr(batches, "EVALUATION_ROWS", 20)
    assert len(np.unique(model.evidence(records.take([3] * 60))[0])) == 60


@pytest.mark.parametrize("samples", [1, 4])
def test_a_change_of_unit_shifts_every_observed_value_by_its_logarithm(mixed, samples):
    model, records, frame = mixed
    # b has no logarithm in its chain: metres to millimetres only moves the decimal point.
    in_mm = frame.with_columns(pl.col("b") * 1000.0)
    other = FittedSchema.fit(model.schema.schema, in_mm)
    before = model.evidence(records, samples=samples)
    same = TabularModel(other, model.module, model.members)
    after = same.evidence(other.apply(in_mm), samples=samples)
    np.testing.assert_allclose(after - before, -np.log(1000.0), atol=1e-3)


@pytest.mark.parametrize(
    "transform",
    [[], ["standardise"], ["signed_log", "standardise"], ["log", "standardise"], ["quantile"]],
)
def test_the_density_integrates_to_one_in_original_units(transform):
    # Nothing but a density of the same variable in the same unit can be compared.
    values = np.exp(0.5 * np.random.default_rng(0).normal(size=(600, 1)))
    schema, records = table_of(values, {"transform": transform})
    model = _fit(schema, records, epochs=20)
    low = 1e-9 if "log" in transform else -10.0
    edges = np.concatenate([np.linspace(low, 6.0, 1_500), np.geomspace(6.001, 1_000.0, 300)])
    points = schema.apply(pl.DataFrame({"a": 0.5 * (edges[1:] + edges[:-1])}))
    assert len(points) == len(edges) - 1
    density = np.exp(model.evidence(points, samples=150)[0])
    assert float((density * np.diff(edges)).sum()) == pytest.approx(1.0, abs=0.03)


def test_the_better_scaling_has_the_better_bound_in_original_units():
    logs = np.random.default_rng(0).normal(size=(1_500, 2))
    truth = -logs.sum(1) - 0.5 * (logs**2).sum(1) - np.log(2 * np.pi)
    found = {}
    for name, transform in {"plain": ["standardise"], "log": ["log", "standardise"]}.items():
        schema, records = table_of(np.exp(logs), {"transform": transform})
        model = _fit(schema, records.take(np.arange(1_000)), epochs=30)
        found[name] = model.evidence(records.take(np.arange(1_000, 1_500)), samples=20).mean()
    assert found["log"] == pytest.approx(truth[1_000:].mean(), abs=0.1)
    assert found["plain"] < found["log"] - 0.2
