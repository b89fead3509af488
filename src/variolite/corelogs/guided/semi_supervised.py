"""A semi-supervised variational autoencoder: what labelled and unlabelled rows say together.

Model M2 of Kingma et al. (2014): a class y, a latent z given the class, and the whitened logs x
given both. Labelled rows have the evidence lower bound of their class; of unlabelled rows, all
classes are weighed by a classifier q(y | x and its surroundings), and what other classifiers say
of a row takes the place of the prior of classes. What predicts is not that classifier, which is
too sure of itself, but the model: p(y | x) by the bound of every class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from variolite.scoring.intervals import FloatArray, IntArray
from variolite.training.device import single_thread
from variolite.vae.distributions import HALF_LOG_2PI

LATENT, HIDDEN, CLASSIFIER = 5, 48, 64
STEPS, WARM_UP = 1_500, 300  # of which the KL is weighed up
UNLABELLED, LABELLED = 256, 128  # rows of a step
RATE, DECAY, DROPOUT = 2e-3, 1e-4, 0.2
GUIDANCE = 3.0  # weight of the classifier's own loss on labelled rows
LEVEL = 0.1  # share of the prior of classes that is the same for all
CHUNK_ROWS = 4_096


class ClassModel(nn.Module):
    """q(y | f), q(z | x, y), p(z | y) and p(x | y, z) for f [n, f], x [n, d] and K classes."""

    def __init__(self, features: int, logs: int, classes: int) -> None:
        super().__init__()
        self.logs = logs
        self.linear = nn.Linear(features, classes)
        self.hidden = nn.Linear(features, CLASSIFIER)
        self.deep = nn.Linear(CLASSIFIER, classes)
        self.encode_x, self.encode_y = nn.Linear(logs, HIDDEN), nn.Embedding(classes, HIDDEN)
        self.posterior = nn.Linear(HIDDEN, 2 * LATENT)
        self.decode_z, self.decode_y = nn.Linear(LATENT, HIDDEN), nn.Embedding(classes, HIDDEN)
        self.mean, self.offset = nn.Linear(HIDDEN, logs), nn.Embedding(classes, logs)
        self.log_variance = nn.Parameter(torch.full((logs,), -0.5))
        self.centre = nn.Embedding(classes, LATENT)
        self.dropout = nn.Dropout(DROPOUT)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.centre.weight)

    def classify(self, features: Tensor) -> Tensor:
        """Logits of q(y | f), [n, K]."""
        features = self.dropout(features)
        deep = self.deep(self.dropout(silu(self.hidden(features))))
        return deep + self.linear(features)  # type: ignore[no-any-return]

    def bound(self, x: Tensor, noise: Tensor | float) -> tuple[Tensor, Tensor]:
        """Log-likelihood and KL of x [n, d] if it were of each class, [n, K] each, in nats."""
        hidden = silu(self.encode_x(x)[:, None] + self.encode_y.weight)
        mean, log_variance = self.posterior(hidden).chunk(2, -1)  # [n, K, L] each
        log_variance = log_variance.clamp(-8.0, 3.0)
        z = mean + torch.exp(0.5 * log_variance) * noise
        decoded = self.mean(silu(self.decode_z(z) + self.decode_y.weight)) + self.offset.weight
        noise_level = self.log_variance.clamp(-3.0, 2.0)
        squares = (x[:, None] - decoded).square() * torch.exp(-noise_level)
        likelihood = (-0.5 * (squares + noise_level) - HALF_LOG_2PI).sum(-1)
        moved = (mean - self.centre.weight).square()
        return likelihood, 0.5 * (log_variance.exp() + moved - 1.0 - log_variance).sum(-1)

    def loss(
        self,
        features: Tensor,
        beliefs: Tensor,
        codes: Tensor,
        weight: Tensor,
        log_prior: Tensor,
        kl_weight: float,
        noise: Tensor,
    ) -> Tensor:
        """Loss of unlabelled rows and, after them, labelled ones: ``features`` [u + n, f].

        ``beliefs`` [u, K] are log-probabilities of the classes of unlabelled rows; ``codes`` [n]
        and ``weight`` [n] are of labelled ones, ``log_prior`` [K] of classes; ``noise`` is
        standard normal, [u + n, K, L].
        """
        likelihood, kl = self.bound(features[:, : self.logs], noise)
        joint = likelihood - kl_weight * kl + log_prior  # [u + n, K]
        guess = torch.log_softmax(self.classify(features), 1)
        unlabelled = len(beliefs)
        # The bound of every class, weighed by the guess, and the entropy of the guess.
        own = guess[:unlabelled]
        bound = joint[:unlabelled] - log_prior + beliefs
        loss = -(own.exp() * (bound - own)).sum(1).mean()
        # The bound of the class that a row has, and the cross entropy of the guess.
        gain = joint[unlabelled:] + GUIDANCE * guess[unlabelled:]
        return loss - (gain.gather(1, codes[:, None])[:, 0] * weight).mean()


@dataclass(frozen=True)
class SemiSupervised:
    """A trained model: ``weights`` by name, ``prior`` [C] of the classes, of ``total`` codes."""

    weights: dict[str, NDArray[Any]]
    prior: FloatArray
    classes: IntArray
    total: int

    def log_probabilities(self, features: FloatArray, logs: int, least: float = 1e-6) -> FloatArray:
        """Log of p(y | x) of every class, [n, total], x being the first ``logs`` features."""
        model = ClassModel(features.shape[1], logs, len(self.classes)).eval()
        model.load_state_dict({name: torch.from_numpy(w) for name, w in self.weights.items()})
        found = np.full((len(features), self.total), np.log(least))
        x = torch.from_numpy(features[:, :logs].astype(np.float32))
        prior = torch.from_numpy(np.log(self.prior).astype(np.float32))
        parts = []
        with torch.no_grad(), single_thread(0):
            for start in range(0, len(x), CHUNK_ROWS):
                likelihood, kl = model.bound(x[start : start + CHUNK_ROWS], 0.0)
                parts.append(torch.log_softmax(likelihood - kl + prior, 1))
        joined = torch.cat(parts).double().numpy()
        found[:, self.classes] = np.maximum(joined, np.log(least))
        return found


def fit_semi_supervised(
    unlabelled: FloatArray,
    believed: FloatArray,
    labelled: FloatArray,
    codes: IntArray,
    weight: FloatArray,
    logs: int,
    total: int,
    seed: int,
) -> SemiSupervised:
    """Train on features of unlabelled rows [u, f] and of labelled ones [n, f] with their codes.

    ``believed`` [u, total] are log-probabilities of the classes of unlabelled rows. The first
    ``logs`` features are modelled, the others inform the classifier alone. ``weight`` [n] is of
    labelled rows, ``total`` the number of classes in all.
    """
    classes, codes = np.unique(codes, return_inverse=True)
    shares = np.bincount(codes, weights=weight) / weight.sum()
    prior = (1.0 - LEVEL) * shares + LEVEL / len(classes)
    beliefs = believed[:, classes].astype(np.float32)
    rng, noise = np.random.default_rng([seed, 15]), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), single_thread(0):
        torch.manual_seed(seed)  # of starting weights and dropout
        model = ClassModel(unlabelled.shape[1], logs, len(classes)).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        log_prior = torch.from_numpy(np.log(prior).astype(np.float32))
        for step in range(STEPS):
            free = rng.integers(len(unlabelled), size=UNLABELLED)
            known = rng.integers(len(labelled), size=LABELLED)
            rows = np.concatenate([unlabelled[free], labelled[known]]).astype(np.float32)
            loss = model.loss(
                torch.from_numpy(rows),
                torch.from_numpy(beliefs[free]),
                torch.from_numpy(codes[known]),
                torch.from_numpy(weight[known].astype(np.float32)),
                log_prior,
                min(1.0, (step + 1) / WARM_UP),
                torch.randn((len(rows), len(classes), LATENT), generator=noise),
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
    weights = {name: w.numpy().copy() for name, w in model.state_dict().items()}
    return SemiSupervised(weights, prior, classes, total)
