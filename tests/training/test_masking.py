"""Hidden values: how many, from whom, and what a linear model learns of them in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_tables import LINEAR, fit, linear_rows, small, table_of

from variolite.errors import RecipeError, TrainingError
from variolite.recipe import MaskingSpec, load_recipe
from variolite.records import DepthContext
from variolite.training import Member
from variolite.training.row_batches import Masking, TrainingBatches, evaluation_batches
from variolite.vae import Architecture, Batch, TabularModule

CPU = torch.device("cpu")
PAIR = [Member(0, 1.0, 2), Member(1, 1.0, 2)]


def _batches(kind, share, blocks=None, *, scored=True, rows=4_000, context=None):
    _, records = table_of(linear_rows(rows))
    group = torch.arange(rows) % 50
    blocks = torch.eye(4, dtype=torch.bool) if blocks is None else torch.tensor(blocks)
    masking = Masking(kind, share, blocks, group, scored=scored)
    batch = replace(Batch.of(records, CPU), context=context)
    return TrainingBatches(batch, PAIR, 500, dropout=False, masking=masking)


def _hidden(source, epoch=0):
    return torch.cat([~batch.visible for batch in source.epoch(epoch)], dim=1)


def test_every_kind_hides_its_share():
    values = _hidden(_batches("value", 0.15)).float()
    assert values.mean((0, 1)).numpy() == pytest.approx([0.15] * 4, abs=0.02)
    one = _hidden(_batches("sensor", 0.3)).float()
    assert one.sum(2).max() == 1  # one column at a time
    assert one.mean((0, 1)).numpy() == pytest.approx([0.075] * 4, abs=0.015)
    block = _hidden(_batches("sensor", 0.3, [[True, False, True, False]]))
    assert torch.equal(block[..., 0], block[..., 2])
    assert not block[..., [1, 3]].any()
    assert block[..., 0].float().mean() == pytest.approx(0.3, abs=0.02)


def test_a_hole_hides_a_column_in_all_of_its_rows_or_none():
    source = _batches("hole", 0.3, rows=500)
    rows = source.rows.numeric[0]
    tables = []
    for epoch in range(4):
        (batch,) = source.epoch(epoch)
        row = (batch.numeric[0][:, None] == rows).all(2).int().argmax(1)
        hidden = ~batch.visible[0]
        tables.append(torch.stack([hidden[row % 50 == g].float().mean(0) for g in range(50)]))
    assert set(torch.stack(tables).unique().tolist()) == {0.0, 1.0}
    assert torch.stack(tables).mean() == pytest.approx(0.3, abs=0.05)
    assert not torch.equal(tables[0], tables[1])  # drawn anew in every epoch


def test_an_epoch_repeats_itself_and_members_differ():
    for kind in ("value", "sensor", "hole"):
        source = _batches(kind, 0.3)
        assert torch.equal(_hidden(source), _hidden(source))
        assert not torch.equal(*_hidden(source))


def test_the_encoder_sees_nothing_of_a_hidden_value():
    source = _batches("sensor", 0.5, rows=500, context=torch.ones(1, 500, 8))
    (batch,) = source.epoch(0)
    context = DepthContext(kind="windows", rows=(3,))
    architecture = Architecture(("gaussian",) * 4, latent=2, mask_input=True, context=context)
    module = TabularModule(architecture, seed=0)
    changed = replace(batch, numeric=torch.where(batch.visible, batch.numeric, 99.0))
    assert torch.equal(module.encoder_input(batch), module.encoder_input(changed))
    plain = replace(batch, visible=None)
    shown = replace(batch, visible=torch.ones_like(batch.visible))
    assert torch.equal(module.encoder_input(plain), module.encoder_input(shown))
    assert all(part.visible is None for part in evaluation_batches(source.rows, PAIR))
    # Of a hidden value the rows around are hidden, too.
    assert torch.equal(batch.context.view(2, 500, 4, 2)[..., 0] == 1.0, batch.visible)
    assert batch.observed is None  # what is hidden still counts in the likelihood


def test_the_likelihood_can_leave_hidden_values_out():
    for batch in _batches("value", 0.3, scored=False).epoch(0):
        assert torch.equal(batch.observed, batch.visible)


def _closed_form(rows, shown, loadings, centre, noise):
    """Marginal log-likelihood of the shown columns and expectation of all, (n,), (n, d).

    Of rows x = z @ loadings + centre + noise, with z standard normal.
    """
    covariance = loadings.T @ loadings + np.diag(noise**2)
    inverse = np.linalg.inv(covariance[np.ix_(shown, shown)])
    offset = rows[:, shown] - centre[shown]
    log_p = -0.5 * np.einsum("ni,ij,nj->n", offset, inverse, offset)
    log_p += 0.5 * (np.linalg.slogdet(inverse)[1] - len(shown) * np.log(2 * np.pi))
    return log_p, centre + offset @ inverse @ covariance[shown]


# Where hidden values count, the posterior is as narrow as if they were seen: its mean is right, the
# bound on what is seen alone is not tight, and the noise is that of values inferred, too.
@pytest.mark.parametrize(("likelihood", "slack"), [("observed", 0.2), ("visible", 0.05)])
def test_masked_rows_reach_what_a_linear_model_can_say_in_closed_form(likelihood, slack):
    values = linear_rows(1_500, columns=5, factors=2, noise=0.4)
    schema, records = table_of(values, {"transform": []})
    masking = {"kind": "value", "share": 0.3, "likelihood": likelihood}
    model = small(**LINEAR | {"encoder": (32,)})
    settings = {"epochs": 40, "batch_size": 64, "learning_rate": 0.01, "patience": None}
    trained = fit(schema, records, None, model, masking=masking, **settings).model
    layer = trained.module.decoder.layers[0]
    learned = (
        layer.weight[0].detach().numpy(),
        layer.bias[0, 0].detach().numpy(),
        trained.noise()[0],
    )
    complete = records.take(np.arange(300))
    exact, _ = _closed_form(complete.raw, [*range(5)], *learned)
    assert trained.evidence(complete, samples=80).mean() == pytest.approx(exact.mean(), abs=0.05)
    # Two columns lost, as in a hole without these sensors.
    seen, lost = [0, 2, 4], [1, 3]
    observed = np.isin(np.arange(5), seen) & np.ones((300, 1), dtype=bool)
    numeric = np.where(observed, complete.numeric, np.float32(0.0))
    bare = replace(complete, observed=observed, numeric=numeric)
    exact, _ = _closed_form(complete.raw, seen, *learned)
    assert trained.evidence(bare, samples=80).mean() == pytest.approx(exact.mean(), abs=slack)
    true = np.random.default_rng(107).normal(size=(2, 5)), np.zeros(5), np.full(5, 0.4)
    expected = _closed_form(complete.raw, seen, *true)[1][:, lost]
    error = trained.reconstruct(bare)[0][:, lost] - expected
    assert np.sqrt((error**2).mean()) < 0.2 * expected.std()


def test_holes_without_a_sensor_train_a_product_of_experts_too():
    values = linear_rows(1_200, columns=4, factors=1, noise=0.3)
    values[:900, 2:] = np.nan  # three holes in four lack two sensors
    schema, records = table_of(values, {"missing": "mask"})
    groups = {"all_holes": ("a", "b"), "some_holes": ("c", "d")}
    model = small(encoders=groups, fusion="product", decoder=())
    settings = {"epochs": 20, "batch_size": 64, "learning_rate": 0.02, "patience": None}
    trained = fit(schema, records, None, model, **settings).model
    complete = records.take(np.arange(900, 1_200))
    numeric = complete.numeric * np.array([1, 1, 0, 0], np.float32)
    bare = replace(
        complete, numeric=numeric, observed=complete.observed & [True, True, False, False]
    )
    lost = complete.raw[:, 2]  # the fourth column is noise
    error = trained.reconstruct(bare)[0][:, 2] - lost
    assert error.var() < 0.3 * lost.var()  # one factor rules all columns
    # Who has both sensors is surer than who has one.
    both, one = (trained.posterior(part)[1].mean() for part in (complete, bare))
    assert both < one


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(RecipeError, match=r"names no column of the recipe: gama_ray; did you mean"):
        load_recipe(
            "corelogs/default",
            ["training.masking={kind: sensor, share: .3, columns: [gama_ray]}"],
        )
    with pytest.raises(ValueError, match="only masking of kind sensor"):
        MaskingSpec(kind="value", share=0.1, columns=("a",))
    schema, records = table_of(linear_rows(100))
    masking = {"kind": "sensor", "share": 0.1, "columns": ["z"]}
    with pytest.raises(TrainingError, match="none of the columns to mask: z"):
        fit(schema, records, epochs=2, beta={"kind": "constant"}, masking=masking)
