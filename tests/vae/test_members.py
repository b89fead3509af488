"""Joining modules and taking them apart again."""

from dataclasses import replace

import pytest
import torch
from closeness import assert_close

from variolite.errors import TrainingError
from variolite.vae import Architecture, Batch, TabularModule, member, stack
from variolite.vae.tabular import blank

PLAIN = Architecture(likelihoods=("gaussian",) * 3, latent=4, encoder=(8, 6), decoder=(6, 8))
RICH = Architecture(
    likelihoods=("gaussian", "student_t", "gaussian"),
    category_levels=(3, 2),
    condition=2,
    latent=5,
    encoder=(8,),
    decoder=(7, 8),
    norm="layer",
    dropout=0.2,
    variance="row",
    mask_input=True,
)
FIXED = replace(PLAIN, variance="fixed", fixed_variance=0.1)
LINEAR = replace(PLAIN, encoder=(), decoder=())
ALL = {"plain": PLAIN, "rich": RICH, "fixed": FIXED, "linear": LINEAR}


def _batch(architecture: Architecture, latents: list[int], rows: int = 7) -> Batch:
    source = torch.Generator().manual_seed(3)
    noise = torch.zeros(len(latents), rows, max(latents))
    for block, latent in zip(noise, latents, strict=True):
        own = torch.randn(rows, latent, generator=torch.Generator().manual_seed(latent))
        block[:, :latent] = own
    levels = architecture.category_levels
    return Batch(
        numeric=torch.randn(1, rows, architecture.numeric, generator=source),
        observed=torch.rand(1, rows, architecture.numeric, generator=source) > 0.3,
        category=torch.stack(
            [torch.randint(-1, n, (1, rows), generator=source) for n in levels], dim=-1
        )
        if levels
        else None,
        condition=torch.randn(1, rows, architecture.condition, generator=source)
        if architecture.condition
        else None,
        noise=noise,
    )


@pytest.mark.parametrize("name", ALL)
def test_a_member_taken_out_is_the_one_put_in(name: str) -> None:
    modules = [
        TabularModule(replace(ALL[name], latent=latent), seed)
        for seed, latent in enumerate((5, 2, 3))
    ]
    joint = stack(modules)
    assert joint.members == 3
    assert joint.architecture.latent == 5
    for i, module in enumerate(modules):
        alone = member(joint, i, module.architecture.latent)
        assert alone.architecture == module.architecture
        own, taken = module.state_dict(), alone.state_dict()
        assert own.keys() == taken.keys()
        for key, value in own.items():
            assert torch.equal(taken[key], value), key


@pytest.mark.parametrize("name", ALL)
def test_a_stacked_module_computes_what_its_members_do(name: str) -> None:
    latents = [5, 2, 3]
    modules = [
        TabularModule(replace(ALL[name], latent=latent), seed)
        for seed, latent in enumerate(latents)
    ]
    joint = stack(modules)
    batch = _batch(ALL[name], latents)
    beta = torch.tensor([1.0, 0.5, 2.0])
    together = joint.loss(batch, beta)
    for i, (module, latent) in enumerate(zip(modules, latents, strict=True)):
        noise = batch.noise[i : i + 1, :, :latent]
        alone = module.loss(replace(batch, noise=noise), beta[i : i + 1])
        for part in ("total", "reconstruction", "kl"):
            assert_close(getattr(together, part)[i], getattr(alone, part)[0])


@pytest.mark.parametrize("name", ALL)
def test_padded_dimensions_hold_the_prior_and_get_no_gradient(name: str) -> None:
    latents = [5, 2]
    modules = [TabularModule(replace(ALL[name], latent=n), 0) for n in latents]
    joint = stack(modules)
    batch = _batch(ALL[name], latents)
    posterior = joint.infer(batch)
    assert (posterior.mean[1, :, 2:] == 0.0).all()
    assert (posterior.log_variance[1, :, 2:] == 0.0).all()
    assert (posterior.kl_per_dimension()[1, :, 2:] == 0.0).all()
    joint.loss(batch, torch.ones(2)).total.sum().backward()
    heads = joint.encoder.layers[-1]
    first = joint.decoder.layers[0]
    for value in (heads.weight, heads.bias):
        assert (value.grad[1][..., 2:5] == 0.0).all()
        assert (value.grad[1][..., 7:10] == 0.0).all()
        assert (value.grad[1][..., :2] != 0.0).any()
        assert (value.grad[1][..., 5:7] != 0.0).any()
    assert (first.weight.grad[1, 2:5] == 0.0).all()
    assert (first.weight.grad[1, :2] != 0.0).any()


def test_taking_out_copies() -> None:
    joint = stack([TabularModule(PLAIN, 0), TabularModule(PLAIN, 1)])
    alone = member(joint, 1)
    with torch.no_grad():
        alone.encoder.layers[0].weight.zero_()
    assert (joint.encoder.layers[0].weight[1] != 0.0).any()


def test_blank_has_the_shapes_of_a_stack() -> None:
    for architecture in ALL.values():
        joint = stack([TabularModule(architecture, seed) for seed in range(3)])
        shapes = {name: value.shape for name, value in blank(architecture, 3).state_dict().items()}
        assert shapes == {name: value.shape for name, value in joint.state_dict().items()}
        assert blank(architecture, 3).members == 3


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAIN, encoder=(8, 7)),
        replace(PLAIN, norm="layer"),
        replace(PLAIN, likelihoods=("gaussian", "gaussian", "student_t")),
        replace(PLAIN, variance="row"),
        replace(PLAIN, mask_input=True),
    ],
)
def test_members_of_another_shape_are_refused(other: Architecture) -> None:
    with pytest.raises(TrainingError, match="seed, beta and latent size only"):
        stack([TabularModule(PLAIN, 0), TabularModule(other, 0)])
