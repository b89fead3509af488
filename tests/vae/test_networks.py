"""The batched layers against torch's own, one member at a time."""

import pytest
import torch
from closeness import assert_close

from variolite.vae.layers import Embedding, Linear, Stack


def _source(seed=0):
    return torch.Generator().manual_seed(seed)


def _rows(*shape):
    return torch.randn(shape, generator=_source(9))


def _stacked(layers):
    first = layers[0]
    for name, value in first.named_parameters():
        value.data = torch.cat([layer.get_parameter(name).data for layer in layers])
    return first


def test_linear_starts_as_torch_does():
    layer, again = Linear(16, 5_000, _source()), Linear(16, 5_000, _source())
    bound = 1.0 / 4.0
    for value in (layer.weight, layer.bias):
        assert 0.99 * bound < value.abs().max() <= bound
        assert abs(float(value.detach().std()) - bound / 3.0**0.5) < 0.005
    assert torch.equal(layer.weight, again.weight)


@pytest.mark.parametrize("missing", [-1, -2])
def test_embedding_looks_up_rows_and_gives_zeros_for_missing(missing):
    layer = _stacked([Embedding(4, 5, _source(i)) for i in range(2)])
    out = layer(torch.tensor([[0, 3, missing, 1]]))
    assert out.shape == (2, 4, 5)
    for m in range(2):
        assert torch.equal(out[m, [0, 1, 3]], layer.weight[m][[0, 3, 1]])
        assert (out[m, 2] == 0.0).all()
    out.sum().backward()
    assert (layer.weight.grad[:, 0] == 1.0).all(), "a missing code must not train level 0"
    assert (layer.weight.grad[:, 2] == 0.0).all()


def _plain(stack, x, member, norm):
    layers = list(stack.layers)
    for i, layer in enumerate(layers):
        x = x @ layer.weight[member] + layer.bias[member]
        if i < len(layers) - 1:
            x = torch.relu(x)
            if norm == "layer":
                centred = x - x.mean(-1, keepdim=True)
                x = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
    return x


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("sizes", [(4, 2), (4, 8, 2), (4, 8, 5, 2)])
@pytest.mark.parametrize(("members", "shared_rows"), [(1, True), (3, True), (3, False)])
def test_stack_equals_its_layers_in_turn(norm, sizes, members, shared_rows):
    sources = [_source(i) for i in range(members)]
    stack = _stacked([Stack(sizes, norm=norm, dropout=0.5, generator=g) for g in sources])
    x = _rows(1 if shared_rows else members, 6, 4)
    out = stack(x)  # without generators nothing is dropped, whatever the mode
    assert out.shape == (members, 6, 2)
    assert torch.equal(stack.eval()(x), out)
    for m, rows in enumerate(x.expand(members, -1, -1)):
        assert_close(out[m], _plain(stack, rows, m, norm))


def test_dropout_zeroes_the_stated_fraction_and_keeps_the_mean():
    stack = Stack((1, 2_000, 1), norm="none", dropout=0.3, generator=_source())
    with torch.no_grad():
        for value, number in zip(stack.parameters(), (0.0, 1.0, 1.0 / 2_000, 0.0), strict=True):
            value.fill_(number)
    x = torch.zeros(1, 200, 1)
    out = stack(x, [_source(1)]).detach()
    # Each output is the mean of 2,000 units that are 0 or 1 / 0.7.
    assert abs(float(out.mean()) - 1.0) < 0.005
    assert float(out.std()) == pytest.approx((0.3 / 0.7 / 2_000) ** 0.5, rel=0.2)
    assert_close(stack(x), torch.ones(1, 200, 1))


def test_each_member_drops_what_it_would_drop_alone():
    both, *alone = (
        [Stack((4, 8, 8, 2), norm="layer", dropout=0.4, generator=_source(i)) for i in range(2)]
        for _ in range(2)
    )
    x = _rows(1, 6, 4)
    together = _stacked(both)(x, [_source(5), _source(6)])
    for m, stack in enumerate(alone[0]):
        assert_close(together[m], stack(x, [_source(5 + m)])[0])
