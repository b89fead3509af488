"""The batched layers against torch's own, one member at a time."""

import pytest
import torch
from closeness import assert_close
from torch import nn

from variolite.vae.networks import Embedding, Linear, Stack


def _source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _stacked(layers: list[nn.Module]) -> nn.Module:
    first = layers[0]
    for name, _ in list(first.named_parameters()):
        joined = torch.cat([layer.get_parameter(name) for layer in layers])
        owner = first.get_submodule(name.rpartition(".")[0])
        setattr(owner, name.rpartition(".")[2], nn.Parameter(joined))
    return first


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("shared_rows", [True, False])
def test_linear_is_torch_linear_for_every_member(members: int, shared_rows: bool) -> None:
    layer = _stacked([Linear(4, 3, _source(i)) for i in range(members)])
    x = torch.randn(1 if shared_rows else members, 6, 4, generator=_source(9))
    out = layer(x)
    assert out.shape == (members, 6, 3)
    for m in range(members):
        rows = x[0] if shared_rows else x[m]
        plain = nn.functional.linear(rows, layer.weight[m].T, layer.bias[m, 0])
        assert_close(out[m], plain)


def test_linear_starts_as_torch_does() -> None:
    layer = Linear(16, 5_000, _source())
    bound = 1.0 / 4.0
    for value in (layer.weight, layer.bias):
        assert value.abs().max() <= bound
        assert value.abs().max() > 0.99 * bound
        assert abs(float(value.detach().std()) - bound / 3.0**0.5) < 0.005
    again = Linear(16, 5_000, _source())
    assert torch.equal(layer.weight, again.weight)


@pytest.mark.parametrize("missing", [-1, -2])
def test_embedding_looks_up_rows_and_gives_zeros_for_missing(missing: int) -> None:
    layer = _stacked([Embedding(4, 5, _source(i)) for i in range(2)])
    codes = torch.tensor([[0, 3, missing, 1]])
    out = layer(codes)
    assert out.shape == (2, 4, 5)
    for m in range(2):
        assert torch.equal(out[m, [0, 1, 3]], layer.weight[m][[0, 3, 1]])
        assert (out[m, 2] == 0.0).all()
    out.sum().backward()
    assert (layer.weight.grad[:, 0] == 1.0).all(), "a missing code must not train level 0"
    assert (layer.weight.grad[:, 2] == 0.0).all()


def _plain(stack: Stack, x: torch.Tensor, member: int, norm: str) -> torch.Tensor:
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
def test_stack_equals_its_layers_in_turn(norm: str, sizes: tuple[int, ...]) -> None:
    stacks = [Stack(sizes, norm=norm, dropout=0.5, generator=_source(i)) for i in range(2)]
    stack = _stacked(stacks)
    x = torch.randn(1, 6, 4, generator=_source(9))
    out = stack(x)
    for m in range(2):
        assert_close(out[m], _plain(stack, x[0], m, norm))


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_row_never_depends_on_its_neighbours(norm: str) -> None:
    stack = Stack((4, 8, 5, 2), norm=norm, dropout=0.0, generator=_source())
    x = torch.randn(1, 64, 4, generator=_source(9))
    changed = x.clone()
    changed[:, 1:] *= 100.0
    assert_close(stack(x)[:, :1], stack(changed)[:, :1])
    stack.train()
    assert_close(stack(x)[:, :1], stack(x[:, :1]))


def test_dropout_silences_the_stated_share_and_keeps_the_mean() -> None:
    stack = Stack((1, 2_000, 1), norm="none", dropout=0.3, generator=_source())
    with torch.no_grad():
        stack.layers[0].weight.zero_()
        stack.layers[0].bias.fill_(1.0)
        stack.layers[1].weight.fill_(1.0 / 2_000)
        stack.layers[1].bias.zero_()
    x = torch.zeros(1, 200, 1)
    out = stack(x, [_source(1)])
    # Each output is the mean of 2,000 units that are 0 or 1 / 0.7.
    assert abs(float(out.detach().mean()) - 1.0) < 0.005
    expected = (0.3 / 0.7 / 2_000) ** 0.5
    assert float(out.detach().std()) == pytest.approx(expected, rel=0.2)
    assert_close(stack(x), torch.ones(1, 200, 1))


def test_dropout_is_off_without_generators_whatever_the_mode() -> None:
    stack = Stack((4, 8, 2), norm="none", dropout=0.5, generator=_source())
    x = torch.randn(1, 6, 4, generator=_source(9))
    trained, evaluated = stack.train()(x), stack.eval()(x)
    assert torch.equal(trained, evaluated)
    assert not torch.equal(stack(x, [_source(1)]), trained)


def test_each_member_drops_what_it_would_drop_alone() -> None:
    build = [Stack((4, 8, 8, 2), norm="layer", dropout=0.4, generator=_source(i)) for i in range(2)]
    alone = [Stack((4, 8, 8, 2), norm="layer", dropout=0.4, generator=_source(i)) for i in range(2)]
    both = _stacked(build)
    x = torch.randn(1, 6, 4, generator=_source(9))
    together = both(x, [_source(5), _source(6)])
    for m, stack in enumerate(alone):
        assert_close(together[m], stack(x, [_source(5 + m)])[0])
