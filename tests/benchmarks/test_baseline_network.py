"""The rebuilt source: its published size, its padding, its layers against slow references."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from baseline_batches import TINY, TINY_MESSAGES, assert_close, batch_of, mixed
from benchmarks.crystals.baseline_chemeleon2 import (
    SIZES,
    BaselineArchitecture,
    BaselineModule,
    layers,
)
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from variolite.crystals.files.textbook import textbook_crystals
from variolite.errors import RecipeError

BETA = torch.tensor([1e-5])


def _size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_sizes_are_the_published_ones():
    found = [_size(BaselineModule(SIZES[name], 0)) for name in ("51M", "6.5M", "0.86M")]
    assert found == [51_091_044, 6_513_508, 859_876]
    encoder = layers.MessageEncoder(replace(SIZES["51M"], encoder="cspnet", encoder_layers=6))
    assert round(_size(encoder) / 1e6, 2) == 12.16


def test_a_layer_is_the_transformer_layer_of_torch():
    torch.manual_seed(0)
    layer, gelu = layers.Layer(16, 4, 32), partial(functional.gelu, approximate="tanh")
    other = nn.TransformerEncoderLayer(16, 4, 32, 0.0, gelu, batch_first=True, norm_first=True)
    names = {
        "self_attn.in_proj_weight": layer.project.weight,
        "self_attn.in_proj_bias": layer.project.bias,
    }
    for name, part in (
        ("self_attn.out_proj", layer.join),
        ("linear1", layer.widen),
        ("linear2", layer.narrow),
        ("norm1", layer.attention_norm),
        ("norm2", layer.feedforward_norm),
    ):
        names |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    other.load_state_dict(names)
    present = torch.arange(5) < torch.tensor([5, 1, 3])[:, None]
    block = torch.randn(3, 5, 16)
    found = layer(block, present[:, None, None, :])
    expected = other(block, src_key_padding_mask=~present)
    assert_close(found[present], expected[present])


@pytest.mark.parametrize("architecture", [TINY, TINY_MESSAGES])
def test_padding_changes_nothing(architecture):
    batch = batch_of(mixed())
    module = BaselineModule(architecture, 0)
    narrow = layers.Padding.of(batch.layout.owner, batch.layout.counts)
    wide = layers.Padding.of(batch.layout.owner, batch.layout.counts, places=40)
    given_ = (batch.species, batch.coordinates, batch.lattice)
    assert_close(module.encoder(*given_, wide), module.encoder(*given_, narrow), atol=2e-6)
    features = torch.randn(len(batch.species), architecture.width)
    assert_close(module.decoder(features, wide), module.decoder(features, narrow), atol=2e-6)
    assert_close(wide.mean(features), narrow.mean(features))


def test_a_message_layer_is_the_sum_over_neighbours_written_out():
    torch.manual_seed(1)
    layer = layers.MessageLayer(6, 12)
    counts = torch.tensor([2, 3])
    padding = layers.Padding.of(torch.tensor([0, 0, 1, 1, 1]), counts)
    pairs = layers.Pairs.within(padding)
    features, metric = torch.randn(5, 6), torch.randn(2, 9)
    waves = torch.randn(len(pairs.to), 12)
    found = layer(features, metric, waves, pairs, padding)
    normed = layer.norm(features)
    # The published form: one linear map of all that belongs to a pair.
    weight = torch.cat(
        [part.weight for part in (layer.receiver, layer.sender, layer.metric, layer.waves)], dim=1
    )
    for i in range(5):
        messages = []
        for number in (pairs.to == i).nonzero()[:, 0]:
            j = int(pairs.of[number])
            joint = torch.cat([normed[i], normed[j], metric[padding.owner[i]], waves[number]])
            messages.append(layer.message(functional.linear(joint, weight, layer.receiver.bias)))
        assert len(messages) == counts[padding.owner[i]]
        heard = torch.stack(messages).mean(0)
        assert_close(found[i], features[i] + layer.update(torch.cat([normed[i], heard])))


def test_index_embedding_are_those_of_the_paper():
    found = layers.index_embedding(torch.tensor([0, 3]), 4)
    fourth = [np.sin(3), np.cos(3), np.sin(3 / 100), np.cos(3 / 100)]
    assert_close(found, torch.tensor([[0.0, 1.0, 0.0, 1.0], fourth]))


@pytest.mark.parametrize("architecture", [TINY, TINY_MESSAGES])
@pytest.mark.parametrize("training", [True, False])
def test_batches_of_one_and_single_atoms_have_a_loss_and_gradients(architecture, training):
    crystals = textbook_crystals()
    single = crystals.take(np.flatnonzero(crystals.counts == 1)[:1])
    module = BaselineModule(architecture, 0).train(training)
    parts = module.loss(batch_of(single), BETA)
    assert parts.total.shape == (1,)
    assert_close(parts.total, parts.reconstruction + BETA * parts.kl)
    gradients = torch.autograd.grad(parts.total.sum(), list(module.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_the_loss_is_the_published_sum():
    crystals = mixed()
    module = BaselineModule(TINY, 0).eval()
    batch = batch_of(crystals)
    parts = module.loss(batch, BETA)
    posterior = module.infer(batch)
    z = posterior.mean + torch.exp(0.5 * posterior.log_variance) * batch.noise
    found = module.output(z[0], batch.layout)
    species, coordinates, cells = [], [], []
    for i, crystal in enumerate(crystals):
        span = slice(crystals.offsets[i], crystals.offsets[i + 1])
        chances = found.species_logits[span].softmax(-1)
        species += [-torch.log(chances[k, z_k]) for k, z_k in enumerate(crystal.species.tolist())]
        error = found.coordinates[span].detach().numpy() - crystal.coordinates
        coordinates += list((error**2).ravel())
        a, b, c = crystal.lattice
        lengths = np.linalg.norm(crystal.lattice, axis=1) / len(crystal) ** (1 / 3)
        angles = [
            np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
            for u, v in ((b, c), (a, c), (a, b))
        ]
        cells += list((found.lengths[i].detach().numpy() - lengths) ** 2)
        cells += list(10 * (found.angles[i].detach().numpy() - angles) ** 2)
    normal = Normal(posterior.mean[0], torch.exp(0.5 * posterior.log_variance[0]))
    nats = kl_divergence(normal, Normal(0.0, 1.0)).sum(-1).tolist()
    # Lengths and angles are means over three numbers each, not over six.
    expected = torch.stack(species).mean().item() + 10 * np.mean(coordinates) + 2 * np.mean(cells)
    assert parts.reconstruction.item() == pytest.approx(expected, rel=1e-4)
    assert parts.kl.item() == pytest.approx(np.mean(nats), rel=1e-4)


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(RecipeError, match="cannot be shared by 3 heads"):
        BaselineArchitecture(width=16, heads=3)
