"""The speed benchmark measures what it says: its ELBO, its verdicts and its C loop are right."""

import ctypes
import math
import shutil

import numpy as np
import pytest
import torch
from benchmarks.speed import figures, floor
from benchmarks.speed.elbo import held_out_elbo
from benchmarks.speed.request import Epoch, Request
from benchmarks.speed.task import FEATURES, LATENT, NOISE_VARIANCE, make_table
from torch.nn import functional


def test_elbo_of_a_decoder_that_ignores_z_is_the_density_less_the_divergence():
    rows = torch.randn(50, FEATURES, generator=torch.Generator().manual_seed(1))
    mean, log_variance = 0.3, math.log(0.5)
    found = held_out_elbo(
        lambda x: tuple(torch.full((len(x), LATENT), value) for value in (mean, log_variance)),
        lambda z: torch.zeros(len(z), FEATURES),
        rows,
    )
    density = torch.distributions.Normal(0.0, NOISE_VARIANCE**0.5).log_prob(rows).sum(1).mean()
    divergence = LATENT * 0.5 * (mean**2 + 0.5 - 1.0 - log_variance)
    assert found == pytest.approx(density.item() - divergence, abs=1e-4)


def test_time_to_an_elbo_is_the_sum_up_to_the_first_epoch_that_reaches_it():
    run = [Epoch(1.0, elbo=-3.0), Epoch(2.0, elbo=-1.0), Epoch(4.0, elbo=-2.0)]
    assert figures.reach(run, -2.0) == 3.0
    assert figures.reach(run, -0.5) is None


def test_verdicts_divide_the_slower_by_the_faster_line():
    lines = [
        {"key": "plain-256", "median": 12.0, "rounds": [12.0, 9.0]},
        {"key": "variolite-256", "median": 2.0, "rounds": [2.0, 3.0]},
    ]
    (claim,) = figures.verdicts(lines, [])
    assert (claim["value"], claim["low"], claim["high"], claim["met"]) == (6.0, 3.0, 6.0, True)
    # A seed that never reaches the ELBO counts against us.
    reached = {"source": "plain-256", "ours": figures.OURS, "source_seconds": 9.0}
    (claim,) = figures.verdicts([], [{**reached, "our_seconds": our} for our in (1.0, None)])
    assert (claim["low"], claim["high"], claim["met"]) == (0.0, 9.0, False)


def test_table_is_the_same_every_time_and_standardised():
    first, second = make_table(), make_table()
    np.testing.assert_array_equal(first.train, second.train)
    assert first.train.shape == (170_000, 6)
    assert first.held_out.shape == (30_000, 6)
    np.testing.assert_allclose(first.train.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(first.train.std(0), 1.0, atol=1e-4)


def test_request_survives_json():
    request = Request("plain", 256, 3, seed=2, options={"norm": True}, watch=True)
    assert Request.from_json(request.to_json()) == request


@pytest.mark.skipif(
    not (shutil.which("gcc") or shutil.which("cc")), reason="needs a C compiler for the floor"
)
def test_gradient_of_the_loop_in_c_is_that_of_autograd(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, FEATURES)).astype(np.float32)
    weights = (0.3 * rng.normal(size=2010)).astype(np.float32)
    # A posterior without spread, so that the two need not share their noise.
    weight, bias = floor._layers(weights)[2]
    weight[LATENT:] = 0.0
    bias[LATENT:] = -30.0

    flat = torch.from_numpy(weights.copy()).requires_grad_()
    sizes = [size for outputs, inputs in floor._SHAPES for size in (outputs * inputs, outputs)]
    parts = flat.split(sizes)
    layers = [
        (part.view(shape), bias)
        for part, bias, shape in zip(parts[::2], parts[1::2], floor._SHAPES, strict=True)
    ]
    x = torch.from_numpy(rows)
    hidden = functional.linear(x, *layers[0]).relu()
    both = functional.linear(functional.linear(hidden, *layers[1]).relu(), *layers[2])
    mean, log_variance = both[:, :LATENT], both[:, LATENT:]
    hidden = functional.linear(functional.linear(mean, *layers[3]).relu(), *layers[4]).relu()
    squared = (functional.linear(hidden, *layers[5]) - x).square().sum(1).mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
    expected = squared + 0.5 * divergence
    expected.backward()

    train = floor._compiled(tmp_path).epoch
    train.restype = ctypes.c_double
    first, second, order = np.zeros_like(weights), np.zeros_like(weights), np.arange(300)
    order = order.astype(np.int32)
    arrays = [a.ctypes.data_as(ctypes.c_void_p) for a in (rows, order, weights, first, second)]
    numbers = (*map(ctypes.c_int, (300, 300)), *map(ctypes.c_float, (0.5, 1e-3)))
    steps = ctypes.byref(ctypes.c_long(0))
    loss = train(*arrays[:2], *numbers, *arrays[2:], steps, ctypes.c_uint32(5))
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    # After one step the first moment is a tenth of the gradient.
    np.testing.assert_allclose(10.0 * first, flat.grad.numpy(), atol=1e-5)
    assert sorted(order) == list(range(300))
