"""The tabular VAE against a slow computation with torch.nn and torch.distributions."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal, StudentT, kl_divergence

from variolite.vae import Architecture, Batch, TabularModule
from variolite.vae.tabular import EMBEDDING_SIZE, LEAST_FREEDOM

FULL = Architecture(
    ("gaussian", "student_t"),
    (3,),
    condition=1,
    latent=2,
    encoder=(6,),
    decoder=(5,),
    mask_input=True,
)
ROWS = 4
SOURCE = torch.Generator().manual_seed(0)
BATCH = Batch(
    numeric=torch.tensor([[[0.3, -1.0], [0.0, 2.0], [1.5, 0.0], [0.0, 0.0]]]),
    observed=torch.tensor([[[True, True], [False, True], [True, False], [False, False]]]),
    category=torch.tensor([[[2], [0], [-1], [1]]]),
    condition=torch.randn(1, ROWS, 1, generator=SOURCE),
    noise=torch.randn(1, ROWS, 2, generator=SOURCE),
)


@torch.no_grad()
def _slow_loss(module):
    """Reconstruction and KL, one row at a time, entry by entry, as the formula reads."""
    reconstruction = kl = 0.0
    layers = [*module.encoder.layers, *module.decoder.layers]
    first, heads, hidden, last = ((layer.weight[0], layer.bias[0, 0]) for layer in layers)
    for row in range(ROWS):
        x, seen, condition = (v[0, row] for v in (BATCH.numeric, BATCH.observed, BATCH.condition))
        code = int(BATCH.category[0, row, 0])
        level = torch.zeros(EMBEDDING_SIZE) if code < 0 else module.embeddings[0].weight[0, code]
        inputs = torch.cat([x, seen.float(), level, condition])
        entered = torch.relu(inputs @ first[0] + first[1])
        mean, log_variance = (entered @ heads[0] + heads[1]).chunk(2)
        posterior = Normal(mean, torch.exp(0.5 * log_variance))
        z = mean + posterior.stddev * BATCH.noise[0, row]
        kl += float(kl_divergence(posterior, Normal(0.0, 1.0)).sum())
        decoded = torch.relu(torch.cat([z, condition]) @ hidden[0] + hidden[1])
        decoded = decoded @ last[0] + last[1]
        scale = module.log_scale[0, 0].exp()
        freedom = LEAST_FREEDOM + torch.log1p(module.free[0, 0].exp())
        columns = (Normal(decoded[0], scale[0]), StudentT(freedom[1], decoded[1], scale[1]))
        for d, column in enumerate(columns):
            if seen[d]:
                reconstruction -= float(column.log_prob(x[d]))
        if code >= 0:
            levels = TorchCategorical(logits=decoded[2:])
            reconstruction -= float(levels.log_prob(torch.tensor(code)))
    return reconstruction / ROWS, kl / ROWS


def test_the_loss_equals_the_slow_reference():
    module = TabularModule(FULL, seed=1)
    with torch.no_grad():
        module.log_scale += torch.tensor([0.3, -0.4])
        module.free += torch.tensor([0.0, 1.0])
    reconstruction, kl = _slow_loss(module)
    for beta in (0.0, 0.7, 4.0):
        terms = module.loss(BATCH, torch.tensor([beta]))
        found = [value.item() for value in (terms.total, terms.reconstruction, terms.kl)]
        assert found == pytest.approx([reconstruction + beta * kl, reconstruction, kl], rel=1e-5)


@pytest.mark.parametrize("variance", ["feature", "row"])
def test_every_parameter_gets_a_gradient(variance):
    module = TabularModule(replace(FULL, variance=variance), seed=1)
    module.loss(BATCH, torch.ones(1)).total.sum().backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad != 0.0).any(), name


@pytest.mark.parametrize("sigma2", [1e-8, 0.25, 1e6])
def test_a_fixed_variance_is_kept_as_given_however_small(sigma2):
    fixed = Architecture(("gaussian",), latent=1, variance="fixed", fixed_variance=sigma2)
    module = TabularModule(fixed, seed=0)
    likelihood = module.generate(torch.zeros(1, 1, 1)).numeric
    assert float(likelihood.deviation) == pytest.approx(sigma2**0.5, rel=1e-5)
    assert "log_scale" not in dict(module.named_parameters())


@pytest.mark.parametrize("kind", ["gaussian", "student_t"])
def test_learned_scales_stay_finite(kind):
    module = TabularModule(Architecture((kind, kind), latent=1), seed=0)
    with torch.no_grad():
        module.log_scale.copy_(torch.tensor([[[-1e3, 1e3]]]))
        if kind == "student_t":
            module.free.fill_(-1e4)
    likelihood = module.generate(torch.zeros(1, 1, 1)).numeric
    assert torch.isfinite(likelihood.deviation).all()
    assert (likelihood.deviation > 0.0).all()
    assert torch.isfinite(likelihood.sample(torch.Generator().manual_seed(0))).all()


def test_the_mask_input_tells_a_missing_value_from_a_zero():
    module = TabularModule(FULL, seed=1)
    whole = replace(BATCH, observed=torch.ones_like(BATCH.observed))
    with_mask, without = module.infer(BATCH).mean, module.infer(whole).mean
    assert torch.equal(with_mask[:, 0], without[:, 0])
    assert (with_mask[:, 1:] != without[:, 1:]).any(-1).all()
    assert torch.equal(module.infer(replace(BATCH, observed=None)).mean, without)


@pytest.mark.parametrize("variance", ["feature", "row", "fixed"])
def test_categories_alone_make_a_model(variance):
    module = TabularModule(Architecture((), (3, 2), latent=2, variance=variance), seed=0)
    codes = torch.tensor([[[0, 1], [2, 0], [1, -1], [-1, -1], [0, 0]]])
    batch = Batch(torch.zeros(1, 5, 0), None, codes, None, torch.zeros(1, 5, 2))
    total = module.loss(batch, torch.ones(1)).total
    assert torch.isfinite(total).all()
    total.sum().backward()
    assert all(p.grad is not None and p.numel() for p in module.parameters())


def test_the_start_depends_on_the_seed_and_the_mode_changes_nothing():
    first, again, other = (TabularModule(replace(FULL, dropout=0.5), seed) for seed in (3, 3, 4))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.encoder.layers[0].weight, other.encoder.layers[0].weight)
    totals = [module.loss(BATCH, torch.ones(1)).total for module in (first.train(), again.eval())]
    assert torch.equal(*totals)
