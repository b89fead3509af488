"""The closed-form step gives what autograd gives, and says when it does not apply."""

from dataclasses import replace

import pytest
import torch
from closeness import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.training.optimiser import FlatParameters
from variolite.vae import AnalyticStep, Architecture, Batch, TabularModule, stack, supports

PLAIN = Architecture(likelihoods=("gaussian",) * 3, latent=4, encoder=(8, 5), decoder=(5, 8))


def _batch(members=1, *, shared=True, masked=False, hidden=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn((1 if shared else members, 11, 3), generator=generator)
    observed = torch.rand(rows.shape, generator=generator) < 0.7 if masked else None
    numeric = rows if observed is None else rows * observed
    visible = torch.rand(rows.shape, generator=generator) < 0.7 if hidden else None
    if hidden and observed is not None:
        visible &= observed
    noise = torch.randn((members, 11, 4), generator=generator)
    return Batch(numeric, observed, None, None, noise, visible=visible)


def _compare(module, batch, beta):
    """Assert that both ways give the same terms and gradients; the latter come back."""
    flat = FlatParameters(module, len(beta))
    expected = module.loss(batch, beta)
    flat.collect(expected.total.sum())
    gradients = flat.gradients.clone()
    flat.gradients.fill_(torch.nan)  # every gradient has to be written
    found = AnalyticStep(module, flat.views)(batch, beta)
    for name in ("total", "reconstruction", "kl"):
        assert_close(getattr(found, name), getattr(expected, name))
    assert_close(flat.gradients, gradients, rtol=1e-4, atol=1e-5)
    return flat


@settings(max_examples=40)
@given(
    members=st.integers(1, 3),
    batch=st.fixed_dictionaries(dict.fromkeys(["shared", "masked", "hidden"], st.booleans())),
    architecture=st.fixed_dictionaries(
        {"mask_input": st.booleans(), "variance": st.sampled_from(["fixed", "feature"])}
    ),
    hidden=st.sampled_from([((), ()), ((8,), (8,)), ((16, 5), ()), ((7, 16), (16, 3))]),
    beta=st.floats(0.0, 2.0),
    seed=st.integers(0, 99),
)
def test_terms_and_gradients_equal_autograd(members, batch, architecture, hidden, beta, seed):
    architecture = replace(PLAIN, encoder=hidden[0], decoder=hidden[1], **architecture)
    module = stack([TabularModule(architecture, seed + i) for i in range(members)])
    with torch.no_grad():
        for value in module.parameters():  # some log-scales and log-variances move away from zero
            value.mul_(2.0)
    _compare(module, _batch(members, **batch, seed=seed), torch.linspace(beta, beta + 0.5, members))


def test_clamped_scales_and_variances_get_no_gradient():
    module = TabularModule(PLAIN, seed=0)
    with torch.no_grad():
        module.log_scale.copy_(torch.tensor([[[-9.0, 0.0, 9.0]]]))
        module.encoder.layers[-1].bias[..., 4:] = torch.tensor([-50.0, 0.0, 50.0, 0.0])
    flat = _compare(module, _batch(), torch.ones(1))
    assert flat.views[module.log_scale].flatten()[[0, 2]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("sigma2", [1e-8, 1e6])
def test_a_fixed_noise_is_kept_however_small(sigma2):
    module = TabularModule(replace(PLAIN, variance="fixed", fixed_variance=sigma2), seed=0)
    expected = module.loss(_batch(), torch.ones(1)).total.detach()
    found = AnalyticStep(module, FlatParameters(module, 1).views)(_batch(), torch.ones(1))
    assert_close(found.total, expected)


OTHERS = {"likelihoods": ("gaussian", "student_t", "gaussian"), "variance": "row", "norm": "layer"}
OTHERS |= {"dropout": 0.1, "category_levels": (3,), "condition": 2}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_left_to_autograd(name):
    assert supports(TabularModule(PLAIN, seed=0))
    assert not supports(TabularModule(replace(PLAIN, **{name: OTHERS[name]}), seed=0))
