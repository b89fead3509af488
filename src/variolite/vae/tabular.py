"""The tabular VAE: a pure module from rows to a posterior and back, and several joined as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from variolite.errors import TrainingError
from variolite.records import Records
from variolite.vae.likelihoods import Categorical, Gaussian, Joint, Mixed, Numeric, StudentT
from variolite.vae.networks import Embedding, Norm, Stack
from variolite.vae.posterior import Posterior, StandardNormal

# What one training step sees: tensors with members, rows and columns.


EVALUATION_ROWS = 8_192


@dataclass(frozen=True)
class Batch:
    """Rows on the device of the model: all of a table, or those of one step.

    Attributes
    ----------
    numeric
        Transformed values, 0 where missing, shape (M or 1, B, D).
    observed
        True where a value was measured, shape as ``numeric``; None when complete.
    category
        Level codes, -1 where missing, shape (M or 1, B, C); None without categories.
    condition
        What the model is given, shape (M or 1, B, K); None without conditions.
    noise
        Standard normal draws for the posterior, shape (M, B, L); empty for uses of its mean.
    generators
        One per member where dropout is on; empty when evaluating.
    """

    numeric: Tensor
    observed: Tensor | None
    category: Tensor | None
    condition: Tensor | None
    noise: Tensor = field(default_factory=lambda: torch.empty(0))
    generators: Sequence[torch.Generator] = ()

    @classmethod
    def of(cls, records: Records, device: torch.device) -> Batch:
        """Copy records to a device once."""

        def put(array: NDArray[Any]) -> Tensor | None:
            return torch.from_numpy(array).to(device).unsqueeze(0) if array.shape[1] else None

        return cls(
            numeric=torch.from_numpy(records.numeric).to(device).unsqueeze(0),
            observed=None if records.observed.all() else put(records.observed),
            category=put(records.category),
            condition=put(records.condition),
        )

    def __len__(self) -> int:
        return self.numeric.shape[1]

    def gather(
        self, index: Tensor, noise: Tensor, generators: Sequence[torch.Generator] = ()
    ) -> Batch:
        """Copy rows that all members share in the order of ``index``, shape (M, b)."""

        def pick(values: Tensor) -> Tensor:
            chosen = values[0].index_select(0, index.reshape(-1))
            return chosen.view(*index.shape, values.shape[2])

        return self._changed(pick, noise, generators)

    def chunks(self, rows: int | None = None) -> Iterator[Batch]:
        """Yield the rows in order, at most so many at once."""
        rows = rows or EVALUATION_ROWS
        for start in range(0, len(self), rows):
            cut = itemgetter((slice(None), slice(start, start + rows)))
            noise = cut(self.noise) if self.noise.dim() > 1 else self.noise
            yield self._changed(cut, noise, self.generators)

    def _changed(
        self,
        change: Callable[[Tensor], Tensor],
        noise: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Batch:
        others = (self.observed, self.category, self.condition)
        observed, category, condition = (None if v is None else change(v) for v in others)
        return Batch(change(self.numeric), observed, category, condition, noise, generators)


# The objective in named parts, normalised the same way everywhere: nats per row.


@dataclass(frozen=True)
class LossTerms:
    """The negative evidence lower bound and what it is made of.

    Attributes
    ----------
    total
        reconstruction + beta * kl, nats per row, shape (M,).
    reconstruction
        Minus the log-likelihood of the observed values, nats per row, shape (M,).
    kl
        KL of the posterior from the prior, nats per row, shape (M,).
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor


def evidence_terms(log_likelihood: Tensor, kl: Tensor, beta: Tensor) -> LossTerms:
    """Average rows (M, B) to the parts of the objective (Higgins et al. 2017).

    A beta other than 1 is a bound of another model; with a Gaussian decoder of
    fixed variance it only rescales that variance, sigma^2 to beta * sigma^2.
    """
    reconstruction = -log_likelihood.mean(dim=1)
    mean_kl = kl.mean(dim=1)
    return LossTerms(reconstruction + beta * mean_kl, reconstruction, mean_kl)


# The tabular VAE: a pure module from rows to a posterior and back.


Likelihood = Literal["gaussian", "student_t"]
Variance = Literal["fixed", "feature", "row"]

LOG_SCALE_RANGE = (-6.0, 3.0)
"""Learned log-scales in transformed (unit-variance) units stay within this range."""

LEAST_FREEDOM = 2.01
"""Student-t degrees of freedom stay above this: below 2 there is no standard deviation."""

EMBEDDING_SIZE = 8


@dataclass(frozen=True)
class Architecture:
    """Sizes and choices that make a `TabularModule`.

    Attributes
    ----------
    likelihoods
        Of each of the D numeric columns.
    category_levels
        Number of levels of each category.
    condition
        Width K of the condition.
    latent
        Latent dimensions L.
    encoder, decoder
        Hidden widths, from the data to the latent space and back.
    variance
        ``fixed``: sigma^2 is given; ``feature``: one learned variance per
        column; ``row``: the decoder gives a variance for every value. For
        Student-t columns this is the squared scale.
    fixed_variance
        sigma^2 in transformed units, used when ``variance`` is ``fixed``.
    mask_input
        Give the encoder which values were observed.
    """

    likelihoods: tuple[Likelihood, ...]
    category_levels: tuple[int, ...] = ()
    condition: int = 0
    latent: int = 10
    encoder: tuple[int, ...] = (32, 16)
    decoder: tuple[int, ...] = (16, 32)
    norm: Norm = "none"
    dropout: float = 0.0
    variance: Variance = "feature"
    fixed_variance: float = 0.25
    mask_input: bool = False

    @property
    def numeric(self) -> int:
        """Number of numeric columns D."""
        return len(self.likelihoods)

    @property
    def encoder_inputs(self) -> int:
        """Width of what the encoder sees."""
        masks = self.numeric if self.mask_input else 0
        return self.numeric + masks + EMBEDDING_SIZE * len(self.category_levels) + self.condition

    @property
    def numeric_outputs(self) -> int:
        """Numbers that the decoder gives for the numeric columns."""
        return self.numeric * (2 if self.variance == "row" else 1)


class TabularModule(nn.Module):
    """Encoder, decoder and likelihood of one or several members.

    A new module has one member, started from ``seed`` alone;
    `stack` joins several into one.

    Parameters
    ----------
    architecture
        Sizes and choices.
    seed
        Seed of the starting weights.
    """

    heavy: Tensor

    def __init__(self, architecture: Architecture, seed: int) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.prior = StandardNormal()
        generator = torch.Generator().manual_seed(seed)
        self.embeddings = nn.ModuleList(
            Embedding(levels, EMBEDDING_SIZE, generator) for levels in a.category_levels
        )
        self.encoder = Stack(
            (a.encoder_inputs, *a.encoder, 2 * a.latent),
            norm=a.norm,
            dropout=a.dropout,
            generator=generator,
        )
        self.decoder = Stack(
            (a.latent + a.condition, *a.decoder, a.numeric_outputs + sum(a.category_levels)),
            norm=a.norm,
            dropout=a.dropout,
            generator=generator,
        )
        if a.numeric and a.variance == "fixed":
            log_scale = torch.full((1, 1, a.numeric), 0.5 * math.log(a.fixed_variance))
            self.register_buffer("log_scale", log_scale)
        elif a.numeric and a.variance == "feature":
            self.log_scale = nn.Parameter(torch.zeros(1, 1, a.numeric))
        heavy = torch.tensor([likelihood == "student_t" for likelihood in a.likelihoods])
        self.register_buffer("heavy", heavy, persistent=False)
        if "student_t" in a.likelihoods:
            # softplus(2) + 2: about four degrees of freedom, heavy tails to start from
            self.free = nn.Parameter(torch.full((1, 1, a.numeric), 2.0))

    @property
    def members(self) -> int:
        """Number of models in this one."""
        return int(next(self.encoder.parameters()).shape[0])

    def infer(self, batch: Batch) -> Posterior:
        """Posterior of the rows of a batch."""
        inputs = [batch.numeric]
        if self.architecture.mask_input:
            observed = batch.observed
            ones = torch.ones_like(batch.numeric)
            inputs.append(ones if observed is None else observed.to(batch.numeric.dtype))
        if batch.category is not None:
            inputs += [e(batch.category[..., i]) for i, e in enumerate(self.embeddings)]
        if batch.condition is not None:
            inputs.append(batch.condition)
        if len(inputs) > 1:
            members = max(part.shape[0] for part in inputs)
            inputs = [torch.cat([part.expand(members, -1, -1) for part in inputs], dim=-1)]
        hidden = self.encoder(inputs[0], batch.generators)
        mean, log_variance = hidden.chunk(2, dim=-1)
        return Posterior(mean, log_variance)

    def generate(
        self,
        z: Tensor,
        condition: Tensor | None = None,
        generators: tuple[torch.Generator, ...] = (),
    ) -> Joint:
        """Likelihood of the columns given latent points z, shape (M, B, L)."""
        if condition is not None:
            z = torch.cat([z, condition.expand(z.shape[0], -1, -1)], dim=-1)
        out = self.decoder(z, generators)
        a = self.architecture
        numeric = self._numeric(out[..., : a.numeric_outputs]) if a.numeric else None
        logits = out[..., a.numeric_outputs :].split(list(a.category_levels), dim=-1)
        return Joint(numeric, tuple(Categorical(part) for part in logits))

    def _numeric(self, out: Tensor) -> Numeric:
        if self.architecture.variance == "row":
            mean, log_scale = out.chunk(2, dim=-1)
        else:
            mean, log_scale = out, self.log_scale
        if self.architecture.variance != "fixed":
            log_scale = log_scale.clamp(*LOG_SCALE_RANGE)
        chosen = set(self.architecture.likelihoods)
        if chosen == {"gaussian"}:
            return Gaussian(mean, log_scale)
        student = StudentT(mean, log_scale, LEAST_FREEDOM + torch.nn.functional.softplus(self.free))
        if chosen == {"student_t"}:
            return student
        return Mixed(Gaussian(mean, log_scale), student, self.heavy)

    def loss(self, batch: Batch, beta: Tensor, posterior: Posterior | None = None) -> LossTerms:
        """Negative evidence lower bound in named parts, each of shape (M,).

        Parameters
        ----------
        batch
            Rows with noise.
        beta
            Weight of the KL for every member, shape (M,).
        posterior
            Of the same batch, where the caller has inferred it already.
        """
        posterior = posterior or self.infer(batch)
        z, kl = self.prior.draw(posterior, batch.noise)
        likelihood = self.generate(z, batch.condition, tuple(batch.generators))
        log_likelihood = likelihood.log_prob(batch.numeric, batch.observed, batch.category)
        return evidence_terms(log_likelihood, kl, beta)


# Joining single models into one batched model, and taking them apart again.
#
# Members may differ in their latent size. A smaller member is padded with zero
# weights for the dimensions it lacks. Those stay zero: their posterior is the
# prior (mean 0, variance 1), its noise is zero, so that no gradient reaches them
# and Adam leaves them alone. The padded member therefore trains exactly as it
# would alone.


def _latent_axes(name: str, layers: int) -> tuple[str, int] | None:
    """Say how the latent size enters a parameter: which part and along which axis."""
    if name in (f"encoder.layers.{layers}.weight", f"encoder.layers.{layers}.bias"):
        return "heads", 2
    if name == "decoder.layers.0.weight":
        return "inputs", 1
    return None


def _widen(value: Tensor, part: str, axis: int, latent: int, target: int) -> Tensor:
    """Insert zeros for the latent dimensions from ``latent`` up to ``target``."""
    count = value.shape[axis]
    blocks = [value.narrow(axis, 0, latent)]
    gap = list(value.shape)
    gap[axis] = target - latent
    zeros = value.new_zeros(gap)
    blocks.append(zeros)
    blocks.append(value.narrow(axis, latent, count - latent))
    if part == "heads":  # means and log-variances lie side by side
        blocks.append(zeros)
    return torch.cat(blocks, dim=axis)


def _narrow(value: Tensor, part: str, axis: int, latent: int, source: int) -> Tensor:
    """Undo `_widen`."""
    first = value.narrow(axis, 0, latent)
    length = latent if part == "heads" else value.shape[axis] - source
    return torch.cat([first, value.narrow(axis, source, length)], dim=axis)


def stack(modules: Sequence[TabularModule]) -> TabularModule:
    """Join models that differ in nothing but weights and latent size.

    Raises
    ------
    TrainingError
        If they differ in anything else.
    """
    architectures = [module.architecture for module in modules]
    latent = max(architecture.latent for architecture in architectures)
    joint = replace(architectures[0], latent=latent)
    if any(replace(a, latent=latent) != joint for a in architectures):
        raise TrainingError(
            "members may differ in seed, beta and latent size only",
            hint="train models of different shape in separate runs",
        )
    result = TabularModule(joint, seed=0)
    states = [module.state_dict() for module in modules]
    layers = len(joint.encoder)
    for name, owner in _owners(result).items():
        rule = _latent_axes(name, layers)
        values = [state[name] for state in states]
        if rule is not None:
            values = [
                _widen(value, *rule, a.latent, latent)
                for value, a in zip(values, architectures, strict=True)
            ]
        _set(owner, name, torch.cat(values))
    return result


def blank(architecture: Architecture, members: int) -> TabularModule:
    """Return a batched model of the right shapes, to load weights into."""
    result = TabularModule(architecture, seed=0)
    for name, owner in _owners(result).items():
        value = result.state_dict()[name]
        _set(owner, name, value.repeat(members, *[1] * (value.dim() - 1)))
    return result


def member(module: TabularModule, index: int, latent: int | None = None) -> TabularModule:
    """Take one member out as a model of its own, cut to its latent size."""
    joint = module.architecture
    size = joint.latent if latent is None else latent
    alone: Architecture = replace(joint, latent=size)
    result = TabularModule(alone, seed=0)
    state = module.state_dict()
    for name, owner in _owners(result).items():
        value = state[name][index : index + 1]
        rule = _latent_axes(name, len(joint.encoder))
        if rule is not None:
            value = _narrow(value, *rule, size, joint.latent)
        _set(owner, name, value.clone())
    return result


def _owners(module: TabularModule) -> dict[str, torch.nn.Module]:
    return {name: module.get_submodule(name.rpartition(".")[0]) for name in module.state_dict()}


def _set(owner: torch.nn.Module, name: str, value: Tensor) -> None:
    attribute = name.rpartition(".")[2]
    if attribute in owner._buffers:
        owner._buffers[attribute] = value
    else:
        setattr(owner, attribute, torch.nn.Parameter(value))
