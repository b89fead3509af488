"""Joining modules and taking them apart again."""

from dataclasses import replace

import pytest
import torch
from closeness import assert_close

from variolite.errors import TrainingError
from variolite.vae import Architecture, Batch, TabularModule, blank, member, stack

PLAIN = Architecture(likelihoods=("gaussian",) * 3, latent=4, encoder=(8, 6), decoder=(6, 8))
OTHERS = {"likelihoods": ("gaussian", "gaussian", "student_t"), "norm": "layer"}
OTHERS |= {"encoder": (8, 7), "variance": "row", "mask_input": True}
ARCHITECTURES = {
    "plain": PLAIN,
    "rich": replace(PLAIN, **OTHERS, category_levels=(3, 2), condition=2, dropout=0.2),
    "fixed": replace(PLAIN, variance="fixed", fixed_variance=0.1),
    "linear": replace(PLAIN, encoder=(), decoder=()),
}
EACH = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
LATENTS = (5, 2, 3)


def _modules(architecture):
    sizes = enumerate(LATENTS)
    return [TabularModule(replace(architecture, latent=n), seed) for seed, n in sizes]


def _batch(a, rows=7):
    source = torch.Generator().manual_seed(3)
    noise = torch.zeros(len(LATENTS), rows, max(LATENTS))
    for block, latent in zip(noise, LATENTS, strict=True):
        block[:, :latent] = torch.randn(rows, latent, generator=source)
    codes = [torch.randint(-1, n, (1, rows), generator=source) for n in a.category_levels]
    return Batch(
        numeric=torch.randn(1, rows, a.numeric, generator=source),
        observed=torch.rand(1, rows, a.numeric, generator=source) > 0.3,
        category=torch.stack(codes, dim=-1) if codes else None,
        condition=torch.randn(1, rows, 2, generator=source) if a.condition else None,
        noise=noise,
    )


@EACH
def test_a_member_taken_out_is_a_copy_of_the_one_put_in(architecture):
    modules = _modules(architecture)
    joint = stack(modules)
    assert joint.architecture.latent == 5
    shapes = {name: value.shape for name, value in joint.state_dict().items()}
    empty = blank(joint.architecture, 3).state_dict()
    assert shapes == {name: value.shape for name, value in empty.items()}
    for _ in range(2):  # what is done to a copy does not reach the model
        for i, module in enumerate(modules):
            alone = member(joint, i, module.architecture.latent)
            assert alone.architecture == module.architecture
            own, taken = module.state_dict(), alone.state_dict()
            assert own.keys() == taken.keys()
            for key, value in own.items():
                assert torch.equal(taken[key], value), key
                taken[key].zero_()


@EACH
def test_a_stacked_module_computes_what_its_members_do(architecture):
    modules, batch = _modules(architecture), _batch(architecture)
    beta = torch.tensor([1.0, 0.5, 2.0])
    together = stack(modules).loss(batch, beta)
    for i, (module, latent) in enumerate(zip(modules, LATENTS, strict=True)):
        noise = batch.noise[i : i + 1, :, :latent]
        alone = module.loss(replace(batch, noise=noise), beta[i : i + 1])
        for part in ("total", "reconstruction", "kl"):
            assert_close(getattr(together, part)[i], getattr(alone, part)[0])


@pytest.mark.parametrize("name", OTHERS)
def test_members_of_another_shape_are_refused(name):
    other = replace(PLAIN, **{name: OTHERS[name]})
    with pytest.raises(TrainingError, match="seed, beta and latent size only"):
        stack([TabularModule(PLAIN, 0), TabularModule(other, 0)])
