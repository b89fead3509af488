"""The tabular VAE: a pure module from rows to a posterior and back, and several joined as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from variolite.errors import TrainingError
from variolite.records import DepthContext
from variolite.vae.batch import Batch
from variolite.vae.distributions import (
    Categorical,
    Gaussian,
    Joint,
    Mixed,
    Numeric,
    Posterior,
    StudentT,
)
from variolite.vae.layers import Embedding, Norm, Stack
from variolite.vae.sets import SIZE, SetColumn, SetShape


@dataclass(frozen=True)
class LossTerms:
    """The negative evidence lower bound and what it is made of, nats per row, each (M,).

    ``total`` is reconstruction + beta * kl; ``reconstruction`` is minus the log-likelihood of the
    observed values.
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor


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

    ``likelihoods`` are of each of the D numeric columns, ``category_levels`` counts the levels of
    each category, ``sets`` says the same of columns of sets, ``condition`` is a width. The hidden
    widths of ``encoder`` and ``decoder`` lead from the data to the latent space and back.
    ``variance`` is ``fixed`` where sigma^2 is given (``fixed_variance``, transformed units),
    ``feature`` for a learned one per column, ``row``
    where the decoder gives one for every value; of Student-t columns it is the squared scale.
    ``mask_input`` shows the encoder which values were observed, ``context`` the rows around.
    """

    likelihoods: tuple[Likelihood, ...]
    category_levels: tuple[int, ...] = ()
    sets: tuple[SetShape, ...] = ()
    condition: int = 0
    latent: int = 10
    encoder: tuple[int, ...] = (32, 16)
    decoder: tuple[int, ...] = (16, 32)
    norm: Norm = "none"
    dropout: float = 0.0
    variance: Variance = "feature"
    fixed_variance: float = 0.25
    mask_input: bool = False
    context: DepthContext | None = None

    @property
    def numeric(self) -> int:
        """Number of numeric columns D."""
        return len(self.likelihoods)

    @property
    def numeric_outputs(self) -> int:
        """Numbers that the decoder gives for the numeric columns."""
        return self.numeric * (2 if self.variance == "row" else 1)


class TabularModule(nn.Module):
    """Encoder, decoder and likelihood of one or several members.

    A new module has one member, started from ``seed`` alone; `stack` joins several into one.
    """

    heavy: Tensor

    def __init__(self, architecture: Architecture, seed: int) -> None:
        super().__init__()
        self.architecture = a = architecture
        generator = torch.Generator().manual_seed(seed)
        self.embeddings = nn.ModuleList(
            Embedding(levels, EMBEDDING_SIZE, generator) for levels in a.category_levels
        )
        inputs = a.numeric * (2 if a.mask_input else 1)
        inputs += a.numeric * a.context.per_column if a.context else 0
        inputs += EMBEDDING_SIZE * len(a.category_levels) + SIZE * len(a.sets) + a.condition
        outputs = a.numeric_outputs + sum(a.category_levels) + SIZE * len(a.sets)
        self.encoder, self.decoder = (
            Stack(sizes, norm=a.norm, dropout=a.dropout, generator=generator)
            for sizes in (
                (inputs, *a.encoder, 2 * a.latent),
                (a.latent + a.condition, *a.decoder, outputs),
            )
        )
        if a.numeric and a.variance == "fixed":
            log_scale = torch.full((1, 1, a.numeric), 0.5 * math.log(a.fixed_variance))
            self.register_buffer("log_scale", log_scale)
        elif a.numeric and a.variance == "feature":
            self.log_scale = nn.Parameter(torch.zeros(1, 1, a.numeric))
        self.sets = nn.ModuleList(SetColumn(shape, generator) for shape in a.sets)
        heavy = torch.tensor([likelihood == "student_t" for likelihood in a.likelihoods])
        self.register_buffer("heavy", heavy, persistent=False)
        if "student_t" in a.likelihoods:
            # softplus(2) + 2: about four degrees of freedom, heavy tails to start from
            self.free = nn.Parameter(torch.full((1, 1, a.numeric), 2.0))

    @property
    def set_columns(self) -> list[SetColumn]:
        """One for every column of sets, in order."""
        return [column for column in self.sets if isinstance(column, SetColumn)]

    def infer(self, batch: Batch) -> Posterior:
        """Posterior of the rows of a batch."""
        inputs = self.encoder_input(batch)
        mean, log_variance = self.encoder(inputs, batch.generators).chunk(2, dim=-1)
        return Posterior(mean, log_variance)

    def encoder_input(self, batch: Batch) -> Tensor:
        """All that the encoder sees of the rows of a batch, (M or 1, B, inputs)."""
        visible = batch.observed if batch.visible is None else batch.visible
        # What was not observed is zero already.
        numeric = batch.numeric if batch.visible is None else batch.numeric * batch.visible
        inputs = [numeric]
        if self.architecture.mask_input:
            ones = torch.ones_like(numeric)
            inputs.append(ones if visible is None else visible.to(numeric.dtype))
        if batch.context is not None:
            inputs.append(batch.context)
        if batch.category is not None:
            inputs += [e(batch.category[..., i]) for i, e in enumerate(self.embeddings)]
        inputs += [column.encode(c) for column, c in zip(self.set_columns, batch.sets, strict=True)]
        if batch.condition is not None:
            inputs.append(batch.condition)
        if len(inputs) > 1:
            # Embeddings differ between members (M, B, 8), other columns may be shared (1, B, D).
            members = max(part.shape[0] for part in inputs)
            return torch.cat([part.expand(members, -1, -1) for part in inputs], dim=-1)
        return numeric

    def generate(
        self, z: Tensor, condition: Tensor | None = None, generators: Sequence[torch.Generator] = ()
    ) -> Joint:
        """Likelihood of the columns given latent points z, (M, B, L)."""
        if condition is not None:
            z = torch.cat([z, condition.expand(z.shape[0], -1, -1)], dim=-1)
        out = self.decoder(z, generators)
        a = self.architecture
        # Means first, then log-scales by row, then the logits of one category after the other,
        # then what there is to say of one set after the other.
        numeric = self._numeric(out[..., : a.numeric_outputs]) if a.numeric else None
        widths = [*a.category_levels, *[SIZE] * len(a.sets)]
        parts = out[..., a.numeric_outputs :].split(widths, dim=-1)
        categories = tuple(Categorical(part) for part in parts[: len(a.category_levels)])
        queries = parts[len(a.category_levels) :]
        sets = tuple(c.decode(query) for c, query in zip(self.set_columns, queries, strict=True))
        return Joint(numeric, categories, sets)

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
        student = StudentT(mean, log_scale, LEAST_FREEDOM + softplus(self.free))
        if chosen == {"student_t"}:
            return student
        return Mixed(Gaussian(mean, log_scale), student, self.heavy)

    def loss(self, batch: Batch, beta: Tensor, posterior: Posterior | None = None) -> LossTerms:
        """Negative evidence lower bound in named terms (Higgins et al. 2017).

        ``beta``, (M,), weighs the KL of every member. One other than 1 is a bound of another
        model; with a Gaussian decoder of fixed variance it only rescales that variance, sigma^2
        to beta * sigma^2. ``posterior`` is of the same batch, where it was inferred already.
        """
        z, kl = (posterior or self.infer(batch)).draw(batch.noise)
        likelihood = self.generate(z, batch.condition, batch.generators)
        log_likelihood = likelihood.log_prob(
            batch.numeric, batch.observed, batch.category, batch.sets
        )
        reconstruction, mean_kl = -log_likelihood.mean(dim=1), kl.mean(dim=1)
        return LossTerms(reconstruction + beta * mean_kl, reconstruction, mean_kl)


# Joining single models into one batched model, and taking them apart again.
#
# Members may differ in their latent size. A smaller member is padded with zero weights for the
# dimensions it lacks. Those stay zero: their posterior is the prior (mean 0, variance 1), its
# noise is zero, so that no gradient reaches them and Adam leaves them alone. The padded member
# therefore trains exactly as it would alone.


def _state(module: TabularModule, latent: int) -> dict[str, Tensor]:
    """Weights by name, padded with zeros, or cut, to a latent size."""
    a, state = module.architecture, module.state_dict()
    more = latent - a.latent  # a negative pad cuts
    # The last layer of the encoder, (M, in, 2L): means and log-variances lie side by side.
    for part in ("weight", "bias"):
        name = f"encoder.layers.{len(a.encoder)}.{part}"
        state[name] = pad(state[name].unflatten(2, (2, a.latent)), (0, more)).flatten(2)
    # The first of the decoder, (M, L + K, out): below the latent inputs are those of the condition.
    name = "decoder.layers.0.weight"
    z, condition = state[name].split([a.latent, a.condition], dim=1)
    state[name] = torch.cat([pad(z, (0, 0, 0, more)), condition], dim=1)
    return state


def stack(modules: Sequence[TabularModule]) -> TabularModule:
    """Join models that differ in nothing but weights and latent size, else a TrainingError."""
    latent = max(module.architecture.latent for module in modules)
    joint = replace(modules[0].architecture, latent=latent)
    if any(replace(module.architecture, latent=latent) != joint for module in modules):
        raise TrainingError(
            "members may differ in seed, beta and latent size only",
            hint="train models of different shape in separate runs",
        )
    states = [_state(module, latent) for module in modules]
    result = blank(joint, len(modules))
    result.load_state_dict({name: torch.cat([own[name] for own in states]) for name in states[0]})
    return result


def blank(architecture: Architecture, members: int) -> TabularModule:
    """Return a batched model of the right shapes, to load weights into."""
    result = TabularModule(architecture, seed=0)
    for value in result.state_dict(keep_vars=True).values():
        value.data = value.data.repeat(members, *[1] * (value.dim() - 1))
    return result


def member(module: TabularModule, index: int, latent: int) -> TabularModule:
    """Take one member out as a model of its own, cut to its latent size."""
    result = TabularModule(replace(module.architecture, latent=latent), seed=0)
    state = _state(module, latent)
    result.load_state_dict({name: value[index : index + 1] for name, value in state.items()})
    return result
