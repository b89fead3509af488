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
    LOG_VARIANCE_RANGE,
    Categorical,
    Gaussian,
    Joint,
    Mixed,
    Numeric,
    Posterior,
    StudentT,
)
from variolite.vae.layers import Embedding, Norm, Stack
from variolite.vae.priors import MixtureParameters, Prior, PseudoInputs, StandardNormal
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
Fusion = Literal["concat", "product"]
Decoders = Literal["shared", "by_group", "by_column"]
PriorKind = Literal["standard", "mixture", "vamp"]

LOG_SCALE_RANGE = (-6.0, 3.0)
"""Learned log-scales in transformed (unit-variance) units stay within this range."""

LEAST_FREEDOM = 2.01
"""Student-t degrees of freedom stay above this: below 2 there is no standard deviation."""

EMBEDDING_SIZE = 8
HEAD_WIDTH = 32


@dataclass(frozen=True)
class Architecture:
    """Sizes and choices that make a `TabularModule`.

    ``likelihoods`` has one for each of the D numeric columns, ``category_levels`` the number of
    levels of each category, ``sets`` the shape of each column of sets; ``condition`` is a width.
    The hidden widths of ``encoder`` and ``decoder`` lead from the data to the latent space and
    back. ``variance`` is ``fixed`` where sigma^2 is given (``fixed_variance``, transformed units),
    ``feature`` for a learned one per column, ``row`` where the decoder gives one for every value;
    of Student-t columns it is the squared scale. ``mask_input`` shows the encoder which values
    were observed, ``context`` the rows around.

    ``groups`` are columns, numbered from the numeric ones over categories to sets, that have
    an encoder each: ``fusion`` concat gives each its share of the latent dimensions, product
    multiplies their Gaussians with that of the prior, leaving out those that saw nothing.
    ``decoders`` are shared, or one by group or column. ``components`` are of the ``prior``, where
    it is not the standard normal. ``classes`` counts those that a label head tells apart.
    With ``missingness`` the decoder also says how likely each numeric value is observed.
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
    groups: tuple[tuple[int, ...], ...] = ()
    fusion: Fusion = "concat"
    decoders: Decoders = "shared"
    prior: PriorKind = "standard"
    components: int = 0
    classes: int = 0
    missingness: bool = False

    @property
    def numeric(self) -> int:
        """Number of numeric columns D."""
        return len(self.likelihoods)

    @property
    def numeric_outputs(self) -> int:
        """Numbers that the decoder gives for the numeric columns."""
        return self.numeric * (2 if self.variance == "row" else 1)

    @property
    def columns(self) -> int:
        """Number of all columns."""
        return self.numeric + len(self.category_levels) + len(self.sets)

    def inputs(self) -> list[int]:
        """Column of every encoder input; -1 of those of conditions."""
        numbers = [*range(self.numeric)]
        seen = numbers * (2 if self.mask_input else 1)
        if self.context:
            seen += [n for n in numbers for _ in range(self.context.per_column)]
        widths = [EMBEDDING_SIZE] * len(self.category_levels) + [SIZE] * len(self.sets)
        seen += [self.numeric + i for i, width in enumerate(widths) for _ in range(width)]
        return seen + [-1] * self.condition

    def outputs(self) -> list[int]:
        """Column of every decoder output."""
        made = [*range(self.numeric)] * (self.numeric_outputs // max(self.numeric, 1))
        widths = [*self.category_levels, *[SIZE] * len(self.sets)]
        made += [self.numeric + i for i, width in enumerate(widths) for _ in range(width)]
        return made + [*range(self.numeric)] * self.missingness

    def membership(self, groups: Sequence[Sequence[int]]) -> Tensor:
        """Which columns, and last the conditions, belong to each group, (columns + 1, G)."""
        member = torch.zeros((self.columns + 1, len(groups)), dtype=torch.bool)
        for place, group in enumerate(groups):
            member[list(group), place] = True
        member[-1] = True
        return member


class TabularModule(nn.Module):
    """Encoder, decoder and likelihood of one or several members.

    A new module has one member, started from ``seed`` alone; `stack` joins several into one.
    """

    heavy: Tensor
    membership: Tensor

    def __init__(self, architecture: Architecture, seed: int) -> None:
        super().__init__()
        self.architecture = a = architecture
        generator = torch.Generator().manual_seed(seed)
        self.embeddings = nn.ModuleList(
            Embedding(levels, EMBEDDING_SIZE, generator) for levels in a.category_levels
        )
        inputs, outputs = a.inputs(), a.outputs()
        self.encoder, self.decoder = (
            Stack(sizes, norm=a.norm, dropout=a.dropout, generator=generator, blocks=blocks)
            for sizes, blocks in (
                ((len(inputs), *a.encoder, 2 * a.latent), self._encoder_blocks(inputs)),
                ((a.latent + a.condition, *a.decoder, len(outputs)), self._decoder_blocks(outputs)),
            )
        )
        membership = a.membership(a.groups)[:-1].float()
        self.register_buffer("membership", membership, persistent=False)
        if a.prior == "mixture":
            self.mixture = MixtureParameters(a.components, a.latent, generator)
        elif a.prior == "vamp":
            self.pseudo_inputs = PseudoInputs(a.components, len(inputs), generator)
        if a.classes:
            sizes = (a.latent, HEAD_WIDTH, a.classes)
            self.head = Stack(sizes, norm="none", dropout=0.0, generator=generator)
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

    def _encoder_blocks(self, inputs: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        a = self.architecture
        if not a.groups:
            return None
        own = torch.eye(len(a.groups), dtype=torch.bool)
        if a.fusion == "product":  # means and log-variances of one expert after the other
            outputs = own.repeat_interleave(2 * a.latent, dim=0)
        else:  # the latent dimensions are shared out; all means, then all log-variances
            share = torch.arange(a.latent) * len(a.groups) // a.latent
            outputs = own[share].repeat(2, 1)
        return a.membership(a.groups)[list(inputs)], outputs

    def _decoder_blocks(self, outputs: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        a = self.architecture
        if a.decoders == "shared":
            return None
        groups = a.groups if a.decoders == "by_group" else [(i,) for i in range(a.columns)]
        # Every decoder reads the whole latent space.
        everything = torch.ones((a.latent + a.condition, len(groups)), dtype=torch.bool)
        return everything, a.membership(groups)[list(outputs)]

    @property
    def set_columns(self) -> list[SetColumn]:
        """One for every column of sets, in order."""
        return [column for column in self.sets if isinstance(column, SetColumn)]

    def infer(self, batch: Batch) -> Posterior:
        """Posterior of the rows of a batch."""
        out = self.encoder(self.encoder_input(batch), batch.generators)
        return self._fused(out, self._present(batch) if self.architecture.groups else None)

    def _present(self, batch: Batch) -> Tensor:
        """Whether the encoder of each group sees anything, (M or 1, B, G)."""
        visible = batch.observed if batch.visible is None else batch.visible
        seen = [torch.ones_like(batch.numeric) if visible is None else visible.float()]
        if batch.category is not None:
            seen.append((batch.category >= 0).float())
        seen += [(codes[..., :1] >= 0).float() for codes in batch.sets]
        members = max(part.shape[0] for part in seen)
        joined = torch.cat([part.expand(members, -1, -1) for part in seen], dim=-1)
        return joined @ self.membership > 0.0

    def _fused(self, out: Tensor, present: Tensor | None) -> Posterior:
        """Posterior of what the encoders give; all groups are present by default."""
        a = self.architecture
        if not a.groups or a.fusion == "concat":
            return Posterior(*out.chunk(2, dim=-1))
        # A product of Gaussians adds precisions; that of the prior is 1 (Wu and Goodman 2018).
        experts = out.view(*out.shape[:2], len(a.groups), 2 * a.latent)
        mean, log_variance = experts.chunk(2, dim=-1)
        precision = torch.exp(-log_variance.clamp(*LOG_VARIANCE_RANGE))
        if present is not None:
            precision = precision * present.unsqueeze(-1)
        total = 1.0 + precision.sum(2)
        return Posterior((precision * mean).sum(2) / total, -total.log())

    def prior(self) -> Prior:
        """Prior of all members."""
        a = self.architecture
        if a.prior == "mixture":
            return self.mixture()  # type: ignore[no-any-return]
        if a.prior == "vamp":
            # No generators: dropout would make another prior of every step.
            return self.pseudo_inputs(self._fused(self.encoder(self.pseudo_inputs.rows), None))  # type: ignore[no-any-return]
        return StandardNormal(next(self.parameters()).shape[0], a.latent)

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
        # then what there is to say of one set after the other, then logits of being observed.
        numeric = self._numeric(out[..., : a.numeric_outputs]) if a.numeric else None
        widths = [*a.category_levels, *[SIZE] * len(a.sets), *[a.numeric] * a.missingness]
        parts = out[..., a.numeric_outputs :].split(widths, dim=-1)
        first, last = len(a.category_levels), len(a.category_levels) + len(a.sets)
        categories = tuple(Categorical(part) for part in parts[:first])
        sets = tuple(c.decode(q) for c, q in zip(self.set_columns, parts[first:last], strict=True))
        return Joint(numeric, categories, sets, parts[last] if a.missingness else None)

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

    def loss(
        self,
        batch: Batch,
        beta: Tensor,
        posterior: Posterior | None = None,
        prior: Prior | None = None,
    ) -> LossTerms:
        """Negative evidence lower bound in named terms (Higgins et al. 2017).

        ``beta``, (M,), weighs the KL of every member. One other than 1 is a bound of another
        model; with a Gaussian decoder of fixed variance it only rescales that variance, sigma^2
        to beta * sigma^2. ``posterior`` is of the same batch, where it was inferred already;
        ``prior`` takes the place of the model's own.
        """
        z, kl = (prior or self.prior()).draw(posterior or self.infer(batch), batch.noise)
        likelihood = self.generate(z, batch.condition, batch.generators)
        log_likelihood = likelihood.log_prob(
            batch.numeric, batch.observed, batch.category, batch.sets
        )
        if likelihood.presence is not None:
            log_likelihood = log_likelihood + likelihood.log_presence(batch.observed)
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
    if not more:
        return state
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
    plain = (joint.prior, joint.groups, joint.classes) == ("standard", (), 0)
    if not plain and any(module.architecture.latent != latent for module in modules):
        raise TrainingError(
            "members of different latent size need the standard prior and one encoder",
            hint="train them in separate runs",
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
