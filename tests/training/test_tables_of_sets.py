"""Models of tables with sets and categories: as alone, kept, resumed, decoded and drawn."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from toy_tables import fit, fitted, small

from variolite.errors import DataError, RunFolderError
from variolite.training import Member, StoppedByUserError, load_model, save_model
from variolite.training.row_sampling import SamplingOptions, draw_rows
from variolite.vae import Joint
from variolite.vae.distributions import Categorical
from variolite.vae.sets import SIZE, SetColumn, SetShape
from watched import interrupt_at

COLUMNS = {
    "metals": {"kind": "set"},
    "linkers": {"kind": "set", "missing": "mask", "separator": "+"},
    "net": {"kind": "category", "missing": "mask"},
    "size": {},
    "uptake": {"role": "condition"},
}
MEMBERS = (Member(0, 1.0, 3), Member(1, 0.5, 2), Member(7, 1.0, 3))
SPEC = {"epochs": 12, "beta": {"kind": "linear", "epochs": 3}, "batch_size": 64}
SPEC |= {"learning_rate": 0.02, "patience": None}
MODEL = small(latent=3, encoder=(16,), decoder=(16,))


def table(rows=300, seed=0):
    """Everything follows from which of three metals there is."""
    rng = np.random.default_rng(seed)
    metal = rng.choice(3, rows, p=[0.5, 0.3, 0.2])
    return pl.DataFrame(
        {
            "metals": np.array(["Zn", "Cu;Zn", "Fe"])[metal],
            "linkers": [
                None if rng.random() < 0.2 else ["a", "a+b", "c+a"][m] for m in metal.tolist()
            ],
            "net": np.array(["pcu", "dia", ""])[(metal + (rng.random(rows) < 0.1)) % 3],
            "size": metal + 0.1 * rng.normal(size=rows),
            "uptake": rng.normal(size=rows),
        }
    )


@pytest.fixture(scope="module")
def toy():
    schema, records = fitted(table(), COLUMNS)
    train, held = records.take(np.arange(240)), records.take(np.arange(240, 300))

    def train_on(members=MEMBERS, **settings):
        return fit(schema, train, held, MODEL, members, **(SPEC | settings))

    train_on.schema, train_on.records = schema, records
    return train_on


@pytest.fixture(scope="module")
def trained(toy):
    return toy()


def test_members_train_as_alone(toy):
    # Few small steps: Adam divides gradients by their size, rounding errors near zero as well.
    few = {"epochs": 5, "learning_rate": 0.005}
    held = toy.records.take(np.arange(240, 300))
    trained = toy(**few)
    together = trained.model.evidence(held)
    for i, member in enumerate(MEMBERS):
        alone = toy((member,), **few)
        own, taken = alone.model.module.state_dict(), trained.model.only(i).module.state_dict()
        assert own.keys() == taken.keys()
        assert any(name.endswith(".follows") for name in own)
        for name, value in own.items():
            np.testing.assert_allclose(taken[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(together[i], alone.model.evidence(held)[0], rtol=1e-3, atol=1e-3)


def test_it_comes_back_from_its_file_bit_equal(toy, trained, tmp_path):
    save_model(tmp_path / "model", trained.model)
    again = load_model(tmp_path / "model")
    assert again.schema == trained.model.schema
    assert again.module.architecture == trained.model.module.architecture
    for name in ("encode", "reconstruct", "evidence"):
        found = [getattr(model, name)(toy.records) for model in (trained.model, again)]
        assert np.array_equal(*found), name
    for i in range(3):
        first, second = (m.sample(50, seed=3, member=i) for m in (trained.model, again))
        assert all(np.array_equal(first[name], second[name]) for name in first)
        first, second = (m.most_likely(toy.records, member=i) for m in (trained.model, again))
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_interrupted_it_ends_as_if_undisturbed(toy, trained, tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedByUserError):
        toy(checkpoint=path, on_epoch=interrupt_at(5))
    fresh = []
    resumed = toy(checkpoint=path, on_epoch=fresh.append)
    assert fresh[0].epoch == 6
    expected = trained.model.module.state_dict()
    for name, value in resumed.model.module.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_other_sets_are_other_data(toy, tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedByUserError):
        toy(checkpoint=path, on_epoch=interrupt_at(5))
    train, held = toy.records.take(np.arange(240)), toy.records.take(np.arange(240, 300))
    moved = {**train.sets, "metals": np.roll(train.sets["metals"], 1, axis=0)}
    with pytest.raises(RunFolderError, match="other data"):
        fit(toy.schema, replace(train, sets=moved), held, MODEL, MEMBERS, checkpoint=path, **SPEC)


def test_what_is_most_likely_is_found_again(toy):
    model = toy((Member(0, 0.02, 3),), epochs=120).model
    frame = table(200, seed=5)
    found = model.most_likely(model.schema.apply(frame))
    assert list(found) == ["net", "metals", "linkers"]
    assert (found["metals"] == frame["metals"].to_numpy()).mean() > 0.95
    # What is missing is filled in, members in the order of the alphabet.
    expected = np.array([{"Zn": "a", "Cu;Zn": "a+b", "Fe": "a+c"}[m] for m in frame["metals"]])
    assert (found["linkers"] == expected).mean() > 0.9
    assert np.array_equal(found["metals"], model.most_likely(model.schema.apply(frame))["metals"])


def test_latents_and_conditions_are_those_given(toy, trained):
    model = trained.model.only(0)
    z = np.random.default_rng(0).normal(size=(40, 3))
    first, again = (model.sample(40, seed=1, latents=z) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert set(first) == {"metals", "linkers", "net", "size"}
    assert first["metals"].shape == (40,)
    # None is zero, the mean of a standardised condition.
    zero = model.sample(40, seed=1, latents=z, conditions=np.zeros((40, 1)))
    assert all(np.array_equal(first[name], zero[name]) for name in first)
    other = model.sample(40, seed=1, latents=z, conditions=np.full((40, 1), 5.0))
    assert not np.array_equal(first["size"], other["size"])
    # Against the decoder itself, at a temperature that leaves its centre alone.
    cold = SamplingOptions(temperature=1e-6)
    given = {"latents": z, "conditions": np.ones((40, 1)), "options": cold}
    sizes = model.sample(40, seed=1, **given)["size"]
    with torch.no_grad():
        to = torch.from_numpy(z.astype(np.float32))[None]
        centre = model.module.generate(to, torch.ones((1, 40, 1))).numeric.mean[0].double().numpy()
    np.testing.assert_allclose(sizes, model.schema.inverse(centre)[:, 0], atol=1e-2)


# Sampling options, on likelihoods that are given: what is drawn is held against p^(1 / T).

CHANCES = torch.tensor([0.6, 0.25, 0.1, 0.05])
ROWS = 60_000


def _schema(kind):
    cells = ["a"] * 12 + ["b"] * 5 + ["c"] * 2 + ["d"]
    return fitted(pl.DataFrame({"k": cells, "x": np.arange(20.0)}), {"k": {"kind": kind}, "x": {}})[
        0
    ]


def _drawn(kind, options, seed=0):
    """Shares of a, b, c and d among many draws that know of no latent."""
    schema, generator = _schema(kind), torch.Generator().manual_seed(seed)
    logits = CHANCES.log()
    if kind == "category":
        likelihood = Joint(numeric=None, categories=(Categorical(logits.expand(1, ROWS, 4)),))
    else:
        column = SetColumn(SetShape(4, 1), generator)
        with torch.no_grad():
            column.bias.copy_(logits)
            query = torch.zeros((1, ROWS, SIZE))
            likelihood = Joint(numeric=None, categories=(), sets=(column.decode(query),))
    with torch.no_grad():
        values = draw_rows(schema, likelihood, generator, options)["k"]
    return np.array([(values == level).mean() for level in "abcd"])


@pytest.mark.parametrize("kind", ["category", "set"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_raises_chances_to_its_inverse(kind, temperature):
    powers = CHANCES.double().numpy() ** (1.0 / temperature)
    found = _drawn(kind, SamplingOptions(temperature=temperature))
    np.testing.assert_allclose(found, powers / powers.sum(), atol=0.012)


def test_the_variance_of_numbers_is_multiplied_by_the_temperature(trained):
    model, z = trained.model.only(0), np.zeros((20_000, 3))
    spread = {
        t: model.sample(20_000, seed=2, latents=z, options=SamplingOptions(temperature=t))[
            "size"
        ].var()
        for t in (0.25, 1.0, 4.0)
    }
    assert spread[0.25] / spread[1.0] == pytest.approx(0.25, rel=1e-6)
    assert spread[4.0] / spread[1.0] == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("temperature", [1e-6, 1e6])
def test_far_temperatures_still_draw(trained, temperature):
    found = trained.model.sample(50, seed=0, options=SamplingOptions(temperature=temperature))
    assert np.isfinite(found["size"]).all()
    assert set(found["net"]) <= {"pcu", "dia"}


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"temperature": 0.0}, "--temperature"),
        ({"temperature": -1.0}, "--temperature"),
        ({"temperature": 1e-40}, "--temperature"),
        ({"temperature": 1e40}, "--temperature"),
        ({"temperature": float("nan")}, "--temperature"),
        ({"temperature": float("inf")}, "--temperature"),
        ({"balance": -0.1}, "--balance"),
        ({"balance": 1.1}, "--balance"),
        ({"balance": float("nan")}, "--balance"),
    ],
)
def test_impossible_dials_are_refused(settings, place):
    with pytest.raises(DataError) as caught:
        SamplingOptions(**settings)
    assert caught.value.where == place
