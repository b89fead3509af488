"""The tabular VAE against a slow computation with torch.nn and torch.distributions."""

from dataclasses import replace

import pytest
import torch
from closeness import assert_close
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal, StudentT, kl_divergence

from variolite.vae import Architecture, Batch, TabularModule
from variolite.vae.tabular import EMBEDDING_SIZE, LEAST_FREEDOM

FULL = Architecture(
    likelihoods=("gaussian", "student_t"),
    category_levels=(3,),
    condition=1,
    latent=2,
    encoder=(6,),
    decoder=(5,),
    variance="feature",
    mask_input=True,
)
ROWS = 4


def _batch() -> Batch:
    source = torch.Generator().manual_seed(0)
    return Batch(
        numeric=torch.tensor([[[0.3, -1.0], [0.0, 2.0], [1.5, 0.0], [0.0, 0.0]]]),
        observed=torch.tensor([[[True, True], [False, True], [True, False], [False, False]]]),
        category=torch.tensor([[[2], [0], [-1], [1]]]),
        condition=torch.randn(1, ROWS, 1, generator=source),
        noise=torch.randn(1, ROWS, 2, generator=source),
    )


@torch.no_grad()
def _slow_loss(module: TabularModule, batch: Batch, beta: float) -> tuple[float, float, float]:
    """One row at a time, entry by entry, as the formula reads."""
    reconstruction = divergence = 0.0
    layers = [*module.encoder.layers, *module.decoder.layers]
    first, heads, hidden, last = ((layer.weight[0], layer.bias[0, 0]) for layer in layers)
    for row in range(ROWS):
        x, seen = batch.numeric[0, row], batch.observed[0, row]
        code = int(batch.category[0, row, 0])
        level = torch.zeros(EMBEDDING_SIZE) if code < 0 else module.embeddings[0].weight[0, code]
        inputs = torch.cat([x, seen.float(), level, batch.condition[0, row]])
        mean, log_variance = (torch.relu(inputs @ first[0] + first[1]) @ heads[0] + heads[1]).chunk(
            2
        )
        posterior = Normal(mean, torch.exp(0.5 * log_variance))
        z = mean + posterior.stddev * batch.noise[0, row]
        divergence += float(kl_divergence(posterior, Normal(0.0, 1.0)).sum())
        decoded = torch.relu(torch.cat([z, batch.condition[0, row]]) @ hidden[0] + hidden[1])
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
    reconstruction, divergence = reconstruction / ROWS, divergence / ROWS
    return reconstruction + beta * divergence, reconstruction, divergence


def test_the_loss_equals_the_slow_reference() -> None:
    module, batch = TabularModule(FULL, seed=1), _batch()
    with torch.no_grad():
        module.log_scale += torch.tensor([0.3, -0.4])
        module.free += torch.tensor([0.0, 1.0])
    parts = module.loss(batch, torch.tensor([0.7]))
    total, reconstruction, divergence = _slow_loss(module, batch, 0.7)
    assert float(parts.total.detach()) == pytest.approx(total, rel=1e-5)
    assert float(parts.reconstruction.detach()) == pytest.approx(reconstruction, rel=1e-5)
    assert float(parts.kl.detach()) == pytest.approx(divergence, rel=1e-5)


def test_every_parameter_feels_the_loss() -> None:
    for variance in ("feature", "row"):
        module = TabularModule(replace(FULL, variance=variance), seed=1)
        module.loss(_batch(), torch.ones(1)).total.sum().backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert (parameter.grad != 0.0).any(), name


def test_a_fixed_variance_is_kept_as_given_however_small() -> None:
    plain = Architecture(likelihoods=("gaussian",), latent=1, variance="fixed")
    for sigma2 in (1e-8, 0.25, 1e6):
        module = TabularModule(replace(plain, fixed_variance=sigma2), seed=0)
        likelihood = module.generate(torch.zeros(1, 1, 1)).numeric
        assert float(likelihood.deviation) == pytest.approx(sigma2**0.5, rel=1e-5)
        assert "log_scale" not in dict(module.named_parameters())


def test_learned_scales_stay_within_their_range() -> None:
    plain = Architecture(likelihoods=("gaussian",) * 2, latent=1)
    module = TabularModule(plain, seed=0)
    with torch.no_grad():
        module.log_scale.copy_(torch.tensor([[[-1e3, 1e3]]]))
    deviation = module.generate(torch.zeros(1, 1, 1)).numeric.deviation
    assert torch.isfinite(deviation).all()
    assert (deviation > 0.0).all()


def test_the_standard_deviation_of_student_t_stays_finite() -> None:
    module = TabularModule(Architecture(likelihoods=("student_t",), latent=1), seed=0)
    with torch.no_grad():
        module.free.fill_(-1e4)
    likelihood = module.generate(torch.zeros(1, 1, 1)).numeric
    assert torch.isfinite(likelihood.deviation).all()
    assert torch.isfinite(likelihood.sample(torch.Generator().manual_seed(0))).all()


def test_the_mask_input_tells_a_missing_value_from_a_zero() -> None:
    module = TabularModule(FULL, seed=1)
    batch = _batch()
    nothing_missing = replace(batch, observed=torch.ones_like(batch.observed))
    with_mask, without = module.infer(batch).mean, module.infer(nothing_missing).mean
    assert torch.equal(with_mask[:, 0], without[:, 0])
    assert (with_mask[:, 1:] != without[:, 1:]).any(-1).all()
    none_given = module.infer(replace(batch, observed=None)).mean
    assert torch.equal(none_given, without)


def test_categories_alone_make_a_model() -> None:
    for variance in ("feature", "row", "fixed"):
        architecture = Architecture(
            likelihoods=(), category_levels=(3, 2), latent=2, variance=variance
        )
        module = TabularModule(architecture, seed=0)
        batch = Batch(
            numeric=torch.zeros(1, 5, 0),
            observed=None,
            category=torch.tensor([[[0, 1], [2, 0], [1, -1], [-1, -1], [0, 0]]]),
            condition=None,
            noise=torch.zeros(1, 5, 2),
        )
        parts = module.loss(batch, torch.ones(1))
        assert torch.isfinite(parts.total).all()
        parts.total.sum().backward()
        assert all(p.grad is not None and p.numel() for p in module.parameters())


def test_the_same_seed_gives_the_same_start() -> None:
    first, again, other = (TabularModule(FULL, seed) for seed in (3, 3, 4))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.encoder.layers[0].weight, other.encoder.layers[0].weight)


def test_the_mode_of_the_module_changes_nothing() -> None:
    module = TabularModule(replace(FULL, norm="layer", dropout=0.5), seed=1)
    batch = _batch()
    found = [mode(module).loss(batch, torch.ones(1)) for mode in (_train, _evaluate)]
    assert torch.equal(found[0].total, found[1].total)


def _train(module: TabularModule) -> TabularModule:
    return module.train()


def _evaluate(module: TabularModule) -> TabularModule:
    return module.eval()


def test_beta_weighs_the_divergence_of_each_member() -> None:
    module, batch = TabularModule(FULL, seed=1), _batch()
    for beta in (0.0, 0.3, 1.0, 4.0):
        parts = module.loss(batch, torch.tensor([beta]))
        assert_close(parts.total, parts.reconstruction + beta * parts.kl)
