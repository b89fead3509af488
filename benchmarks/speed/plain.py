"""A plain PyTorch training loop over a DataLoader, as small VAE projects write it.

It follows the loop of the published lithology clustering: a shuffled DataLoader over a
TensorDataset, Adam as it comes, three ``.item()`` calls per step.
"""

from __future__ import annotations

import time

import torch
from benchmarks.speed.elbo import held_out_elbo
from benchmarks.speed.request import Epoch, Request
from benchmarks.speed.task import FEATURES, HIDDEN, LATENT, NOISE_VARIANCE, RATE
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

_BETA = 2.0 * NOISE_VARIANCE
_DROPOUT = 0.1


class PlainVAE(nn.Module):
    """VAE 6-32-16-(10, 10)-16-32-6 with ReLU, with or without BatchNorm and dropout.

    Parameters
    ----------
    norm : bool
        Whether BatchNorm and Dropout(0.1) follow every hidden layer.
    """

    def __init__(self, norm: bool) -> None:
        super().__init__()
        first, second = HIDDEN

        def block(wide: int, narrow: int) -> list[nn.Module]:
            layers: list[nn.Module] = [nn.Linear(wide, narrow), nn.ReLU()]
            return [*layers, nn.BatchNorm1d(narrow), nn.Dropout(_DROPOUT)] if norm else layers

        self.encoder = nn.Sequential(*block(FEATURES, first), *block(first, second))
        self.mean = nn.Linear(second, LATENT)
        self.log_variance = nn.Linear(second, LATENT)
        self.decoder = nn.Sequential(
            *block(LATENT, second), *block(second, first), nn.Linear(first, FEATURES)
        )

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance, each (n, latent)."""
        hidden = self.encoder(rows)
        return self.mean(hidden), self.log_variance(hidden)

    def decode(self, latent: Tensor) -> Tensor:
        """The decoder's mean (n, features)."""
        output: Tensor = self.decoder(latent)
        return output

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One reconstruction with its posterior mean and log-variance."""
        mean, log_variance = self.encode(rows)
        deviation = torch.exp(0.5 * log_variance)
        latent = mean + torch.randn_like(deviation) * deviation
        return self.decode(latent), mean, log_variance


def run(request: Request, train: Tensor, held_out: Tensor) -> list[Epoch]:
    """Train and time every epoch.

    Parameters
    ----------
    request : Request
        ``options["norm"]`` switches BatchNorm and dropout on.
    train, held_out : Tensor, shape (n, 6)

    Returns
    -------
    list of Epoch
    """
    torch.manual_seed(request.seed)
    model = PlainVAE(norm=bool(request.options.get("norm", False)))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    loader = DataLoader(TensorDataset(train), batch_size=request.batch, shuffle=True)
    epochs = []
    for _ in range(request.epochs):
        start = time.process_time()
        model.train()
        total_loss = total_squared = total_divergence = 0.0
        for (rows,) in loader:
            optimizer.zero_grad()
            output, mean, log_variance = model(rows)
            squared = nn.functional.mse_loss(output, rows, reduction="sum")
            divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            loss = (squared + _BETA * divergence) / len(rows)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total_loss += loss.item() * len(rows)
            total_squared += squared.item()
            total_divergence += divergence.item()
        spent = time.process_time() - start
        model.eval()
        elbo = held_out_elbo(model.encode, model.decode, held_out) if request.watch else None
        epochs.append(Epoch(spent, total_loss / len(train), elbo))
    return epochs
