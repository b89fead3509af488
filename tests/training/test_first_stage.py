"""A first stage, the start of a prior, and models with a prior of their own."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from toy_tables import LINEAR, fit, linear_rows, small, table_of

from variolite.errors import RecipeError, TrainingError
from variolite.recipe import load_recipe
from variolite.training import Member, StoppedByUserError
from variolite.training import first_stage as stages
from variolite.training import loop as loop_module
from watched import interrupt_at

PAIR = (Member(0, 1.0, 2), Member(5, 1.0, 2))
TWO = {"one": ("a", "b"), "two": ("c", "d")}
STAGES = {
    "mixture": (small(prior="mixture", components=3), {"epochs": 4}),
    "vamp": (small(prior="vamp", components=4), None),
    "each": (small(encoders=TWO, decoders="by_group"), {"epochs": 4, "columns": "each_encoder"}),
    "some": (small(), {"epochs": 4, "columns": ("a", "d")}),
    "contrast": (small(), None),
}


def _clumps(rows=600, seed=0):
    """Rows around three points of a plane in four dimensions."""
    source = np.random.default_rng(seed)
    place = source.integers(0, 3, rows)
    plane = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])[place]
    plane += 0.3 * source.normal(size=(rows, 2))
    loadings = np.array([[1.0, 0.5, 0.0, 0.2], [0.0, 0.5, 1.0, -0.2]])
    return plane @ loadings + 0.2 * source.normal(size=(rows, 4)), place


def test_a_mixture_starts_from_clumps_and_keeps_them_apart():
    values, place = _clumps()
    schema, records = table_of(values)
    settings = {"epochs": 30, "batch_size": 64, "learning_rate": 0.02}
    model = small(prior="mixture", components=3)
    trained = fit(schema, records, None, model, pretraining={"epochs": 10}, **settings).model
    weights, means, variances = (part[0] for part in trained.prior_components())
    assert sorted(weights) == pytest.approx(sorted(np.bincount(place) / 600), abs=0.05)
    latent = trained.encode(records)[0]
    density = [
        multivariate_normal(m, np.diag(v)).logpdf(latent)
        for m, v in zip(means, variances, strict=True)
    ]
    component = (np.log(weights)[:, None] + density).argmax(0)
    pairs = np.unique(np.stack([component, place]), axis=1)
    assert pairs.shape[1] == 3, "a component for every clump"
    plain = fit(schema, records, None, small(), **settings).model
    gain = trained.evidence(records, samples=20).mean() - plain.evidence(records, samples=20).mean()
    assert gain > 0.3  # the standard normal is a poor prior of three clumps


def test_the_evidence_of_a_mixture_prior_is_that_of_a_mixture_of_normals():
    schema, records = table_of(_clumps()[0], {"transform": []})
    model = small(prior="mixture", components=3, **LINEAR | {"encoder": (16,)})
    settings = {"epochs": 40, "batch_size": 64, "learning_rate": 0.02, "patience": None}
    trained = fit(schema, records, None, model, pretraining={"epochs": 10}, **settings).model
    layer = trained.module.decoder.layers[0]
    loadings, centre = layer.weight[0].detach().numpy(), layer.bias[0, 0].detach().numpy()
    parts = [
        np.log(w)
        + multivariate_normal(
            m @ loadings + centre,
            loadings.T * v @ loadings + np.diag(trained.noise()[0] ** 2),
        ).logpdf(records.raw)
        for w, m, v in zip(*(part[0] for part in trained.prior_components()), strict=True)
    ]
    exact = np.logaddexp.reduce(parts)
    assert trained.evidence(records, samples=50).mean() == pytest.approx(exact.mean(), abs=0.03)
    assert trained.evidence(records).mean() < exact.mean()
    drawn = trained.sample(20_000, seed=1)
    cloud = np.stack([drawn[name] for name in "abcd"], axis=1)
    expected = np.sort(cloud, axis=0)[[2_000, 10_000, 18_000]]
    found = np.quantile(records.raw, [0.1, 0.5, 0.9], axis=0)
    assert found == pytest.approx(expected, abs=0.5)


def test_pseudo_inputs_start_from_rows(monkeypatch):
    started = []
    real = stages.start_prior

    def watch(module, rows, members):
        real(module, rows, members)
        started.append((module.pseudo_inputs.rows.detach().clone(), rows.numeric[0]))

    monkeypatch.setattr("variolite.training.tabular_fit.start_prior", watch)
    schema, records = table_of(linear_rows(200))
    model = small(prior="vamp", components=6)
    fit(schema, records, None, model, PAIR, epochs=2, beta={"kind": "constant"})
    ((pseudo, rows),) = started
    assert pseudo.shape == (2, 6, 4)
    assert not torch.equal(pseudo[0], pseudo[1])
    assert (pseudo[:, :, None] == rows).all(-1).any(-1).all()


def test_the_first_stage_sees_and_decodes_its_columns_alone(monkeypatch):
    batches = []
    monkeypatch.setattr(
        stages, "train", lambda module, loss, epoch, *_, **__: batches.extend(epoch(0))
    )
    schema, records = table_of(linear_rows(200))
    short = {"epochs": 2, "beta": {"kind": "constant"}, "batch_size": 50}
    fit(schema, records, None, *STAGES["some"][:1], pretraining=STAGES["some"][1], **short)
    shown = torch.tensor([True, False, False, True])
    for batch in batches:
        assert torch.equal(batch.visible, shown.expand_as(batch.visible))
        assert torch.equal(batch.observed, batch.visible)
    batches.clear()
    fit(schema, records, None, STAGES["each"][0], pretraining=STAGES["each"][1], **short)
    patterns = torch.cat([batch.visible for batch in batches], dim=1)[0]
    assert torch.equal(
        patterns.unique(dim=0),
        torch.tensor([[False, False, True, True], [True, True, False, False]]),
    )


@pytest.mark.parametrize("name", STAGES)
def test_interrupted_in_either_stage_it_ends_in_the_same_weights(name, tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module, "CHECKPOINT_SECONDS", -1.0)
    schema, records = table_of(linear_rows(300))
    model, stage = STAGES[name]
    spec = {"epochs": 5, "beta": {"kind": "linear", "epochs": 2}, "batch_size": 64}
    spec["pretraining"] = stage
    spec["contrastive"] = {"clusters": 3} if name == "contrast" else None
    spec["masking"] = {"kind": "hole", "share": 0.2} if name == "contrast" else None

    def run(**more):
        return fit(schema, records, None, model, PAIR, **spec, **more)

    expected = run()
    path = tmp_path / "state.safetensors"
    if stage:
        real = stages.train

        def killed(*args, **settings):
            real(*args, **settings | {"on_epoch": interrupt_at(1)})

        monkeypatch.setattr(stages, "train", killed)
        with pytest.raises(StoppedByUserError, match=r"epoch 2 of 4 of the training.pretraining"):
            run(checkpoint=path)
        assert not path.exists()
        monkeypatch.setattr(stages, "train", real)
    with pytest.raises(StoppedByUserError, match="epoch 3 of 5"):
        run(checkpoint=path, on_epoch=interrupt_at(2))
    resumed = run(checkpoint=path)
    state = resumed.model.module.state_dict()
    for key, value in expected.model.module.state_dict().items():
        assert torch.equal(value, state[key]), key
    histories = [
        [asdict(replace(record, seconds=0.0)) for record in fitted.history]
        for fitted in (resumed, expected)
    ]
    assert histories[0] == histories[1]


def test_what_cannot_be_trained_is_refused():
    schema, records = table_of(linear_rows(100))
    short = {"epochs": 2, "beta": {"kind": "constant"}}
    for model, message, spec in (
        (small(encoders={"x": ("a", "z"), "y": ("q",)}), "no column for the encoder 'y': q", {}),
        (small(encoders={"x": ("a", "b"), "y": ("c",)}), "no encoder sees d", {}),
        (small(prior="vamp", components=101), "too few for a prior of 101", {}),
        (
            small(),
            "none of the columns of the first stage: z",
            {"pretraining": {"epochs": 2, "columns": ("z",)}},
        ),
    ):
        with pytest.raises(TrainingError, match=message):
            fit(schema, records, None, model, **short, **spec)
    for message, settings in (
        ("in more than one of encoders", ["model.encoders={a: [red], b: [red]}"]),
        ("decoders: by_group needs encoders", ["model.decoders=by_group"]),
        (
            "every encoder needs a latent dimension",
            ["model.encoders={a: [red], b: [blue]}", "model.latent=1"],
        ),
        (
            "each_encoder needs model.encoders",
            ["training.pretraining={epochs: 5, columns: each_encoder}"],
        ),
        (
            "model.encoders.a names no column of the recipe: rde; did you mean red",
            ["model.encoders={a: [rde]}"],
        ),
        ("algorithm prior needs model.prior", ["clustering.algorithm=prior"]),
    ):
        with pytest.raises(RecipeError, match=message):
            load_recipe("corelogs/default", settings)
