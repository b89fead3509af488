"""Value and gradients of the plain objective in closed form, without a graph.

A network of two thousand weights takes a hundred microseconds of arithmetic a step, and autograd
as much again for its bookkeeping. The commonest model, dense layers with ReLU and a Gaussian
likelihood, has a short backward pass; written out it needs neither a graph nor copies, and lands
where the optimiser reads. `supports` says when it applies; everything else takes autograd, and
the tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from variolite.vae.batch import Batch
from variolite.vae.distributions import HALF_LOG_2PI, LOG_VARIANCE_RANGE
from variolite.vae.layers import Linear, Stack
from variolite.vae.tabular import LOG_SCALE_RANGE, LossTerms, TabularModule

NARROW = 16
"""Matrix products whose width is not a multiple of this are several times slower in BLAS than their
transpose, so that these are taken the other way round."""


def supports(module: TabularModule) -> bool:
    """Whether the closed form covers a model: Gaussian columns, ReLU layers, nothing else."""
    a = module.architecture
    return (
        a.numeric > 0
        and set(a.likelihoods) == {"gaussian"}
        and a.variance in ("fixed", "feature")
        and a.norm == "none"
        and a.dropout == 0.0
        and not a.category_levels
        and not a.sets
        and not a.condition
        and not a.groups
        and not a.classes
        and not a.missingness
        and (a.decoders, a.prior) == ("shared", "standard")
        and next(module.parameters()).device.type == "cpu"
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias: (M, B, in), (M, in, out) and (M, 1, out) to (M, B, out)."""
    if weight.shape[2] % NARROW:
        turned = torch.baddbmm(bias.transpose(1, 2), weight.transpose(1, 2), x.transpose(1, 2))
        return turned.transpose(1, 2)
    return torch.baddbmm(bias, x, weight)


class _Layers:
    """The layers of a stack, with the places where their gradients go."""

    def __init__(self, stack: Stack, gradients: Mapping[nn.Parameter, Tensor]) -> None:
        layers = [layer for layer in stack.layers if isinstance(layer, Linear)]
        self.parameters = [(layer.weight.data, layer.bias.data) for layer in layers]
        self.gradients = [(gradients[layer.weight], gradients[layer.bias]) for layer in layers]
        self.inputs: list[Tensor] = []  # of every layer, kept for the backward pass

    def forward(self, x: Tensor) -> Tensor:
        self.inputs = []
        last = len(self.parameters) - 1
        for i, (weight, bias) in enumerate(self.parameters):
            self.inputs.append(x)
            x = _product(x, weight, bias)
            if i < last:
                x.relu_()  # in place: it is stored as the next layer's input anyway
        return x

    def backward(self, gradient: Tensor, *, to_input: bool) -> Tensor:
        """Write the gradients of all layers, given that of the output, (M, B, out).

        Returns that of the input where it is wanted: the first layer's product is saved otherwise.
        """
        for i in reversed(range(len(self.parameters))):
            x, weight = self.inputs[i], self.parameters[i][0]
            of_weight, of_bias = self.gradients[i]
            # Of the weight: x^T gradient, (M, in, out); of the bias: the sum over rows.
            if weight.shape[2] % NARROW:
                turned = torch.bmm(gradient.transpose(1, 2), x)
                of_weight.copy_(turned.transpose(1, 2))
            else:
                torch.bmm(x.transpose(1, 2), gradient, out=of_weight)
            torch.sum(gradient, 1, keepdim=True, out=of_bias)
            if i == 0 and not to_input:
                break
            # Of the input: gradient weight^T, (M, B, in).
            if weight.shape[1] % NARROW:
                gradient = torch.bmm(weight, gradient.transpose(1, 2)).transpose(1, 2)
            else:
                gradient = torch.bmm(gradient, weight.transpose(1, 2))
            if i > 0:  # the input of layer i is what ReLU let through
                gradient = torch.ops.aten.threshold_backward(gradient, x, 0)
        return gradient


class AnalyticStep:
    """Compute the objective of a batch and write its gradients, each in its parameter's shape.

    The module is one that `supports` covers, its parameters laid out for good: they may change in
    value, not in place.
    """

    def __init__(self, module: TabularModule, gradients: Mapping[nn.Parameter, Tensor]) -> None:
        self.module = module
        self.encoder = _Layers(module.encoder, gradients)
        self.decoder = _Layers(module.decoder, gradients)
        scale = module.log_scale
        self.scale_gradient = gradients[scale] if isinstance(scale, nn.Parameter) else None

    @torch.no_grad()
    def __call__(self, batch: Batch, beta: Tensor) -> LossTerms:
        """Return the terms, each (M,); the gradients are of the sum of their total."""
        members = len(beta)
        x = batch.numeric.expand(members, -1, -1)
        rows, latent = x.shape[1], batch.noise.shape[2]
        observed = None
        if batch.observed is not None:
            observed = batch.observed.to(x.dtype).expand(members, -1, -1)
        inputs = self.module.encoder_input(batch).expand(members, -1, -1)
        hidden = self.encoder.forward(inputs)  # (M, B, 2L)
        mean, log_variance = hidden[..., :latent], hidden[..., latent:]
        clamped = log_variance.clamp(*LOG_VARIANCE_RANGE)
        deviation = torch.exp(0.5 * clamped)
        # Kept for the backward pass: dz / d(log variance) is half of it.
        spread = deviation * batch.noise
        variance = deviation.square_()
        out = self.decoder.forward(mean + spread)  # means of the columns, (M, B, D)

        raw = self.module.log_scale.data  # (M, 1, D)
        learned = self.scale_gradient is not None
        log_scale = raw.clamp(*LOG_SCALE_RANGE) if learned else raw
        precision = torch.exp(-log_scale)
        # Standardised residuals, zero where nothing was observed: their mean squares give the
        # loss, and times precision / rows they are its gradient with respect to the output.
        residual = (out - x).mul_(precision)
        if observed is not None:
            residual.mul_(observed)
        squares = residual.square().sum(1, keepdim=True).div_(rows)
        # A column pays for its scale only in the rows where it was observed.
        fraction = 1.0 if observed is None else observed.sum(1, keepdim=True).div_(rows)
        constant = (log_scale + HALF_LOG_2PI).mul_(fraction)
        reconstruction = constant.add_(squares, alpha=0.5).sum((1, 2))
        kl = torch.addcmul(variance, mean, mean).sub_(clamped).sum((1, 2))
        kl.mul_(0.5 / rows).sub_(0.5 * latent)

        if self.scale_gradient is not None:
            # As torch.clamp: no gradient where the clamp holds; so for the log-variance below.
            inside = (raw == log_scale).to(raw.dtype)
            self.scale_gradient.copy_((fraction - squares) * inside)
        of_z = self.decoder.backward(residual.mul_(precision / rows), to_input=True)
        # d KL / d mean = mean, d KL / d(log variance) = (variance - 1) / 2, weighted by beta.
        weight = (beta / rows).view(-1, 1, 1)
        of_hidden = torch.empty_like(hidden)
        torch.addcmul(of_z, mean, weight, out=of_hidden[..., :latent])
        of_log_variance = (of_z * spread).add_(variance.sub_(1.0).mul_(weight)).mul_(0.5)
        torch.mul(of_log_variance, clamped == log_variance, out=of_hidden[..., latent:])
        self.encoder.backward(of_hidden, to_input=False)
        return LossTerms(reconstruction + beta * kl, reconstruction, kl)
