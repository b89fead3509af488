"""The tabular VAE: a pure module from rows to a posterior and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from variolite.vae.batch import Batch
from variolite.vae.likelihoods import Categorical, Gaussian, Joint, Mixed, Numeric, StudentT
from variolite.vae.networks import Embedding, Norm, Stack
from variolite.vae.objective import Parts, evidence_parts
from variolite.vae.posterior import Posterior
from variolite.vae.priors import StandardNormal

__all__ = ["Architecture", "Likelihood", "TabularModule", "Variance"]

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
        Tell the encoder which values were observed.
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
    `variolite.vae.members.stack` joins several into one.

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

    def loss(self, batch: Batch, beta: Tensor, posterior: Posterior | None = None) -> Parts:
        """Negative evidence lower bound in named parts, each of shape (M,).

        Parameters
        ----------
        batch
            Rows with noise.
        beta
            Weight of the divergence for every member, shape (M,).
        posterior
            Of the same batch, where the caller has inferred it already.
        """
        posterior = posterior or self.infer(batch)
        z, divergence = self.prior.draw(posterior, batch.noise)
        likelihood = self.generate(z, batch.condition, tuple(batch.generators))
        log_likelihood = likelihood.log_prob(batch.numeric, batch.observed, batch.category)
        return evidence_parts(log_likelihood, divergence, beta)
