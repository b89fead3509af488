"""The network and its objective against slow references, and what they must not depend on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_crystals import cut, drawn_crystals, drawn_sets
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals import model
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.geometry.frame import canonical
from variolite.crystals.model.network import Transformer, attend, mean_by_crystal
from variolite.crystals.recipe import CrystalArchitecture, LossWeights
from variolite.vae import Posterior

BETA = torch.tensor([0.01])
CPU = torch.device("cpu")
ELEMENTS = (3, 8, 11, 14, 17, 26, 38, 82)


def module_of(seed=0, weights=None, **sizes):
    features = sizes.pop("features", 0)
    small = {"latent": 5, "width": 32, "feedforward": 48, "encoder_layers": 2, "decoder_layers": 2}
    architecture = CrystalArchitecture.model_validate(small | sizes)
    weights = weights or LossWeights()
    module = model.CrystalModule(architecture, weights, ELEMENTS, features=features, seed=seed)
    module.set_log_metric_statistics([0.9, 0.9, 1.0, 0.0, 0.0, 0.0], [0.2] * 6)
    return module.eval()


def batch_of(crystals, latent=5, *, seed=0):
    """A batch whose noise belongs to the atoms, however crystals are put together."""
    batch = model.CrystalBatch.of(crystals, CPU).take(np.arange(len(crystals)))
    random = torch.Generator().manual_seed(seed)
    draws = torch.randn(len(crystals.species), latent, generator=random)
    return replace(batch, noise=draws[crystals.atoms_of(batch.order.numpy())])


@pytest.fixture(scope="module")
def crystals():
    return canonical(drawn_crystals(11, 24, 9, elements=8)).crystals


@pytest.fixture
def module():
    return module_of()


@pytest.fixture
def batch(crystals):
    return batch_of(crystals)


def _slow_attention(joint, owner, heads):
    """Softmax attention atom by atom and head by head, as its definition says."""
    width = joint.shape[1] // 3
    size = width // heads
    found = torch.zeros(len(joint), width, dtype=joint.dtype)
    for atom in range(len(joint)):
        mates = torch.nonzero(owner == owner[atom])[:, 0]
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            query = joint[atom, :width][own]
            scores = joint[mates, width : 2 * width][:, own] @ query / math.sqrt(size)
            weights = torch.softmax(scores, dim=0)
            for weight, mate in zip(weights, mates, strict=True):
                found[atom, own] += weight * joint[mate, 2 * width :][own]
    return found


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 100))
def test_attention_is_softmax_within_every_crystal(sizes, seed):
    layout = model.Layout.of(np.sort(np.array(sizes)), CPU)
    generator = torch.Generator().manual_seed(seed)
    joint = torch.randn(sum(sizes), 3 * 8, generator=generator, dtype=torch.float64)
    found = attend(joint, layout, 2)
    np.testing.assert_allclose(found, _slow_attention(joint, layout.owner, 2), atol=1e-12)


@torch.no_grad()
def test_means_by_crystal_and_nothing_that_tells_atoms_apart_by_number():
    layout = model.Layout.of(np.array([1, 2, 2, 3]), CPU)
    values = torch.arange(16.0).view(8, 2)
    expected = [values[a:b].mean(0).tolist() for a, b in ((0, 1), (1, 3), (3, 5), (5, 8))]
    assert mean_by_crystal(values, layout).tolist() == expected
    transformer = Transformer(16, 2, 32, 2).eval()
    layout = model.Layout.of(np.array([2, 5, 5]), CPU)
    atoms = torch.randn(12, 16, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([1, 0, 6, 2, 3, 5, 4, 11, 10, 9, 8, 7])
    found = transformer(atoms[order], layout)
    np.testing.assert_allclose(found, transformer(atoms, layout)[order], atol=1e-5)


@torch.no_grad()
def test_encoding_permuted_atoms_permutes_the_latents(module, batch):
    counts = batch.layout.counts
    starts = counts.cumsum(0) - counts
    backwards = (2 * starts + counts - 1)[batch.layout.owner] - torch.arange(len(batch.species))
    names = ("species", "coordinates", "noise")
    turned = replace(batch, **{name: getattr(batch, name)[backwards] for name in names})
    before, after = module.infer(batch), module.infer(turned)
    np.testing.assert_allclose(after.mean[0], before.mean[0][backwards], atol=1e-5)
    np.testing.assert_allclose(after.log_variance[0], before.log_variance[0][backwards], atol=1e-5)
    losses = [module.loss(part, BETA).total for part in (turned, batch)]
    np.testing.assert_allclose(*losses, atol=1e-5)


@torch.no_grad()
@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_loss_and_latents_do_not_change_with_whole_cells(seed):
    module = module_of()
    batch = batch_of(canonical(drawn_crystals(seed, 6, 6, elements=8)).crystals)
    whole = np.random.default_rng(seed).integers(-3, 4, size=tuple(batch.coordinates.shape))
    moved = replace(batch, coordinates=batch.coordinates + torch.from_numpy(whole))
    np.testing.assert_allclose(module.infer(moved).mean, module.infer(batch).mean, atol=2e-5)
    before, after = module.loss(batch, BETA), module.loss(moved, BETA)
    np.testing.assert_allclose(after.total, before.total, rtol=1e-5)


@torch.no_grad()
def test_alone_and_together_are_the_same(module, batch, crystals):
    posterior = module.infer(batch)
    decoded = module.generate(posterior.mean[0], batch.layout)
    kl, begin = 0.0, 0
    for place, crystal in enumerate(batch.order.tolist()):
        single = model.CrystalBatch.of(crystals, CPU).take(np.array([crystal]))
        atoms = slice(begin, begin + len(single.species))
        begin = atoms.stop
        single = replace(single, noise=batch.noise[atoms])
        np.testing.assert_allclose(
            module.infer(single).mean[0], posterior.mean[0, atoms], atol=1e-5
        )
        made = module.generate(posterior.mean[0, atoms], single.layout)
        np.testing.assert_allclose(made.pairs, decoded.pairs[atoms], atol=1e-5)
        np.testing.assert_allclose(made.species_logits, decoded.species_logits[atoms], atol=1e-5)
        np.testing.assert_allclose(made.log_metric[0], decoded.log_metric[place], atol=1e-5)
        loss = module.loss(single, BETA)
        assert torch.isfinite(loss.total).all()
        kl += float(loss.kl) * len(single.species)
    assert kl / begin == pytest.approx(float(module.loss(batch, BETA).kl), rel=1e-5)


@torch.no_grad()
@settings(max_examples=10)
@given(drawn=drawn_sets())
def test_the_loss_of_a_batch_of_one_is_that_of_its_copies(drawn):
    module, one = module_of(), canonical(drawn).crystals.take([0])
    single, many = batch_of(one), batch_of(one.take([0] * 5))
    many = replace(many, noise=single.noise.repeat(5, 1))
    losses = [module.loss(part, BETA).total for part in (single, many)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@torch.no_grad()
def test_portions_weighed_by_their_fractions_add_up(crystals, batch):
    module = module_of(weights=LossWeights(species=2.0, coordinates=7.0, lattice=3.0))
    whole = batch
    expected = module.loss(whole, BETA)
    halves = []
    for places in (np.arange(0, 8), np.arange(8, len(crystals))):
        part = batch_of(crystals.take(places))
        own = torch.isin(whole.order, torch.from_numpy(places))[whole.layout.owner]
        portion = replace(part, noise=whole.noise[own])
        atoms, cells = len(portion.species) / len(whole.species), len(places) / len(crystals)
        halves.append(module.loss(portion, BETA, atom_fraction=atoms, crystal_fraction=cells))
    for name in ("total", "reconstruction", "kl"):
        summed = sum(float(getattr(half, name)) for half in halves)
        assert summed == pytest.approx(float(getattr(expected, name)), rel=1e-5)


@torch.no_grad()
def test_the_parts_by_their_definitions(module, batch):
    z = module.infer(batch).sample(batch.noise.unsqueeze(0))[0]
    decoded = module.generate(z, batch.layout)
    parts = module.terms(batch, decoded)
    logits = decoded.species_logits.double().numpy()
    place = np.searchsorted(ELEMENTS, batch.species.numpy())
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert float(parts.species) == pytest.approx(-logs[np.arange(len(place)), place].mean(), 1e-5)
    pairs = decoded.pairs.double().numpy().reshape(-1, 2, 3)
    angle = np.arctan2(pairs[:, 1], pairs[:, 0]) - 2 * np.pi * batch.coordinates.numpy()
    expected = ((1.0 - np.cos(angle)) / (2 * np.pi**2)).mean()
    assert float(parts.coordinates) == pytest.approx(expected, rel=1e-4)
    lattice = ((decoded.log_metric - batch.log_metric) / 0.2).square().mean()
    assert float(parts.lattice) == pytest.approx(float(lattice), rel=1e-5)
    total = module.loss(batch, BETA)
    w = module.weights
    weighed = w.species * parts.species + w.coordinates * parts.coordinates
    weighed = weighed + w.lattice * parts.lattice
    assert float(total.reconstruction) == pytest.approx(float(weighed), rel=1e-5)
    assert float(total.total) == pytest.approx(float(weighed + BETA * total.kl), rel=1e-5)


@given(error=st.floats(-0.02, 0.02), place=st.floats(0.0, 1.0), length=st.floats(0.1, 10.0))
def test_a_small_error_costs_its_square_across_the_face_of_the_cell_too(error, place, length):
    module = module_of()
    batch = batch_of(textbook_of(1))
    truth = torch.full_like(batch.coordinates, place)
    phase = 2 * math.pi * (truth + error)
    pairs = length * torch.cat([phase.cos(), phase.sin()], dim=1)
    decoded = model.Decoded(torch.zeros(len(truth), len(ELEMENTS)), pairs, batch.log_metric)
    parts = module.terms(replace(batch, coordinates=truth), decoded)
    assert float(parts.coordinates) == pytest.approx(error**2, rel=0.01, abs=2e-7)
    assert float(parts.lattice) == 0.0
    assert float(parts.species) == pytest.approx(math.log(len(ELEMENTS)), rel=1e-5)


def textbook_of(count):
    """Textbook crystals of the elements of the module."""
    every = textbook_crystals()
    return cut(every.take(every.made_of(ELEMENTS)), count)


@torch.no_grad()
def test_the_kl_is_that_of_the_closed_form(module, batch):
    posterior = module.infer(batch)
    mean = posterior.mean[0].double().numpy()
    log_variance = posterior.log_variance[0].double().numpy()
    nats = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1.0).sum(axis=1)
    found = module.loss(batch, BETA).kl
    assert found.shape == (1,)
    assert float(found) == pytest.approx(nats.mean(), rel=1e-5)
    # And against draws: the mean of log q - log p.
    one = Posterior(posterior.mean[:, :1].double(), posterior.log_variance[:, :1].double())
    draws = torch.randn(40_000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = one.sample(draws[:, None])
    prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
    sampled = one.log_prob(z)[:, 0] - prior[:, 0]
    assert float(sampled.mean()) == pytest.approx(nats[0], abs=5 * float(sampled.std()) / 200.0)


@torch.no_grad()
def test_elements_are_used_where_they_are_given_and_then_not_decoded(batch):
    module = module_of(given=("species",))
    decoded = module.generate(batch.noise, batch.layout, batch.species)
    assert decoded.species_logits is None
    assert float(module.terms(batch, decoded).species) == 0.0
    other = batch.species.clone()
    other[0] = 82 if int(other[0]) != 82 else 3
    changed = module.generate(batch.noise, batch.layout, other)
    first = batch.layout.owner == 0
    assert float((changed.pairs - decoded.pairs)[first].abs().min()) > 1e-5
    np.testing.assert_array_equal(changed.pairs[~first], decoded.pairs[~first])
    assert float((changed.log_metric - decoded.log_metric)[0].abs().min()) > 1e-6
    assert "to_species.weight" not in module.state_dict()
    module = module_of()
    found = module.generate(batch.noise, batch.layout, batch.species)
    assert torch.equal(found.pairs, module.generate(batch.noise, batch.layout).pairs)


def test_a_batch_is_left_unchanged(module, batch):
    kept = {n: v.clone() for n, v in vars(batch).items() if isinstance(v, torch.Tensor)}
    module.loss(batch, BETA).total.backward()
    module.generate(module.infer(batch).mean[0], batch.layout)
    for name, value in kept.items():
        assert torch.equal(getattr(batch, name), value)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


def test_the_seed_decides_and_zero_is_a_seed():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = module_of(0).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = module_of(0).state_dict(), module_of(1).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@torch.no_grad()
def test_alignment_adds_to_the_objective_and_only_where_there_are_features(batch):
    weights = LossWeights(alignment=0.5)
    module, plain = module_of(weights=weights, features=7), module_of(weights=weights)
    bare = module.loss(batch, BETA)
    plain.load_state_dict({name: module.state_dict()[name] for name in plain.state_dict()})
    np.testing.assert_allclose(bare.total, plain.loss(batch, BETA).total, rtol=1e-6)
    features = torch.randn(len(batch.species), 7, generator=torch.Generator().manual_seed(3))
    drawn = replace(batch, features=features).drawn(5, torch.Generator().manual_seed(0))
    drawn = replace(drawn, noise=batch.noise)
    aligned = module.loss(drawn, BETA)
    assert float(aligned.reconstruction) > float(bare.reconstruction)
    assert float(aligned.kl) == pytest.approx(float(bare.kl))
    missing = replace(drawn, features=torch.full_like(features, torch.nan))
    assert torch.isfinite(module.loss(missing, BETA).total).all()
