"""Encoders and decoders by group of columns: who sees what, and what missing groups do."""

from dataclasses import replace

import pytest
import torch
from closeness import assert_close

from variolite.vae import Architecture, Batch, Posterior, TabularModule

# Two numeric columns and a category on one side, one numeric column on the other.
GROUPS = ((0, 1, 3), (2,))
SIZES = Architecture(
    ("gaussian",) * 3,
    (4,),
    condition=2,
    latent=5,
    encoder=(6, 4),
    decoder=(4, 6),
    norm="layer",
    mask_input=True,
    groups=GROUPS,
)


def _batch(seed=0, rows=7):
    source = torch.Generator().manual_seed(seed)
    return Batch(
        numeric=torch.randn(1, rows, 3, generator=source),
        observed=torch.ones(1, rows, 3, dtype=torch.bool),
        category=torch.randint(4, (1, rows, 1), generator=source),
        condition=torch.randn(1, rows, 2, generator=source),
        noise=torch.randn(1, rows, 5, generator=source),
    )


def _without(batch, group):
    """Hide all that the encoder of a group sees."""
    columns = [c for c in GROUPS[group] if c < 3]
    observed = batch.observed.clone()
    observed[..., columns] = False
    category = torch.full_like(batch.category, -1) if 3 in GROUPS[group] else batch.category
    return replace(batch, observed=observed, numeric=batch.numeric * observed, category=category)


@torch.no_grad()
def test_joined_encoders_have_a_share_of_the_latent_dimensions_each():
    module = TabularModule(SIZES, seed=0)
    batch = _batch()
    before = module.infer(batch)
    own = [torch.tensor([True, True, True, False, False]), torch.tensor([False] * 3 + [True] * 2)]
    for group in range(2):
        after = module.infer(_without(batch, group))
        for name in ("mean", "log_variance"):
            moved = (getattr(after, name) - getattr(before, name)).abs().amax((0, 1)) > 1e-6
            assert torch.equal(moved, own[group]), (group, name)


@torch.no_grad()
def test_a_product_of_experts_is_one_of_gaussians_and_leaves_out_who_saw_nothing():
    module = TabularModule(replace(SIZES, fusion="product"), seed=0)
    batch = _batch()
    out = module.encoder(module.encoder_input(batch))
    experts = [Posterior(*part.chunk(2, dim=-1)) for part in out.split(10, dim=-1)]

    def product(some):
        precision = 1.0 + sum(torch.exp(-e.log_variance) for e in some)
        mean = sum(torch.exp(-e.log_variance) * e.mean for e in some) / precision
        return mean, 1.0 / precision

    for kept, found in (
        (experts, module.infer(batch)),
        (experts[1:], module.infer(_without(batch, 0))),
        (experts[:1], module.infer(_without(batch, 1))),
    ):
        mean, variance = product(kept)
        assert_close(found.mean, mean)
        assert_close(found.log_variance.exp(), variance)
    nothing = module.infer(_without(_without(batch, 0), 1))
    assert (nothing.mean == 0.0).all()  # the prior
    assert (nothing.log_variance == 0.0).all()


@pytest.mark.parametrize("variance", ["feature", "row"])
@pytest.mark.parametrize("decoders", ["by_group", "by_column"])
def test_decoders_share_no_weight_and_all_read_the_whole_latent_space(decoders, variance):
    module = TabularModule(replace(SIZES, decoders=decoders, variance=variance), seed=0)
    blocks = GROUPS if decoders == "by_group" else ((0,), (1,), (2,), (3,))
    z = torch.randn(1, 3, 5, requires_grad=True)
    columns = torch.tensor(module.architecture.outputs())
    used = []
    for block in blocks:
        out = module.decoder(torch.cat([z, torch.zeros(1, 3, 2)], dim=-1))
        of_block = torch.isin(columns, torch.tensor(block))
        parameters = [*module.decoder.parameters(), z]
        *gradients, of_z = torch.autograd.grad(out[..., of_block].square().sum(), parameters)
        assert (of_z.abs().amax((0, 1)) > 0.0).all()
        used.append([g != 0.0 for g in gradients])
    for first, *others in zip(*used, strict=True):
        for other in others:
            assert not (first & other).any()


def test_blocks_start_as_networks_of_their_own_would():
    wide = Architecture(
        ("gaussian",) * 60, latent=2, encoder=(50,), groups=(tuple(range(6)), tuple(range(6, 60)))
    )
    weight = TabularModule(wide, seed=0).encoder.layers[0].weight[0].detach()
    for group, units in ((slice(0, 6), slice(0, 50)), (slice(6, 60), slice(50, 100))):
        block = weight[group, units]
        bound = block.shape[0] ** -0.5
        assert float(block.abs().max()) == pytest.approx(bound, rel=0.05)
    assert (weight[:6, 50:] == 0.0).all()


def test_every_weight_within_a_block_is_trained():
    for architecture in (SIZES, replace(SIZES, fusion="product", decoders="by_column")):
        module = TabularModule(architecture, seed=1)
        module.loss(_batch(rows=40), torch.ones(1)).total.sum().backward()
        for name, layer in (*module.encoder.layers.named_children(),):
            assert (layer.weight.grad[0][layer.joined[0] == 0.0] == 0.0).all(), name
            assert (layer.weight.grad != 0.0).any(), name
