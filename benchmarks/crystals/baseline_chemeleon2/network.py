"""chemeleon2 rebuilt from its description, as one module with the interface of our network.

To be compared with and for nothing else. Crystals go in as they are, in Niggli cells: atoms are
told apart by their number in the file, coordinates and lattices are raw, and the loss is not
periodic. Only what kept the original from running or repeating is mended: batches of one, and
the seed 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from benchmarks.crystals.baseline_chemeleon2.cells import matrix_of, niggli, parameters_of
from benchmarks.crystals.baseline_chemeleon2.layers import (
    BaselineArchitecture,
    MessageEncoder,
    Padding,
    Transformer,
    TransformerEncoder,
    index_embedding,
)
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.crystals import Crystals
from variolite.crystals.model.batch import CrystalBatch, Layout, evaluation_batches
from variolite.vae import LossTerms, Posterior


def generator_of(noise: Tensor) -> torch.Generator:
    """Return a generator that depends on the noise of a batch alone.

    The noise is a function of seed, epoch and step; so is what is drawn from this then, and
    a run that was interrupted draws the same again.
    """
    bits = noise[0].detach().cpu().contiguous().view(torch.int32).long().sum()
    return torch.Generator().manual_seed(int(bits) % 2**63)


def draw_shift(lattice: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one Cartesian shift in Angstrom, shape (3,): N(mean, deviation of the lengths) / 2.

    The deviation over a batch of one is taken as 0; chemeleon2 stops there with an error.
    Fractional shifts are far from uniform.
    """
    lengths, _ = parameters_of(lattice)
    normal = torch.randn(3, generator=generator).to(lengths)
    mean = lengths.mean(0)
    deviation = lengths.std(0) if len(lengths) > 1 else torch.zeros_like(mean)
    return 0.5 * (mean + deviation * normal)


def draw_rotation(generator: torch.Generator) -> Tensor:
    """Draw one rotation, shape (3, 3), from a quaternion that is uniform in [0, 1]^4.

    Its axis always lies in the positive octant: this is no uniform rotation.
    """
    w, x, y, z = torch.nn.functional.normalize(torch.rand(4, generator=generator), dim=0).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def augment(batch: CrystalBatch) -> CrystalBatch:
    """Shift all crystals of a batch by the same Cartesian vector and turn them alike."""
    generator = generator_of(batch.noise)
    shift = draw_shift(batch.lattice, generator)
    rotation = draw_rotation(generator).to(batch.lattice)
    fractional = torch.linalg.solve(
        batch.lattice.transpose(1, 2), shift.expand(len(batch.lattice), 3)
    )
    return replace(
        batch,
        coordinates=(batch.coordinates + fractional[batch.layout.owner]) % 1.0,
        lattice=batch.lattice @ rotation.T,
    )


LOG_VARIANCE_RANGE = (-30.0, 20.0)

KL_WEIGHT = 1e-5
"""Weight of the KL, in nats per atom."""


@dataclass(frozen=True)
class BaselineWeights:
    """Weights of the parts of the reconstruction, as published."""

    species: float = 1.0
    lengths: float = 1.0
    angles: float = 10.0
    coordinates: float = 10.0


@dataclass(frozen=True)
class BaselineOutput:
    """What the decoder gives.

    Attributes
    ----------
    species_logits
        Shape (N, E).
    coordinates
        Unbounded fractional coordinates, shape (N, 3).
    lengths
        Cell lengths in Angstrom over the cube root of the number of atoms, unbounded, (B, 3).
    angles
        Cell angles in radians, unbounded, shape (B, 3).
    """

    species_logits: Tensor
    coordinates: Tensor
    lengths: Tensor
    angles: Tensor


def reconstruction(
    found: BaselineOutput,
    species: Tensor,
    coordinates: Tensor,
    lattice: Tensor,
    counts: Tensor,
    weights: BaselineWeights,
) -> Tensor:
    """Weighted sum of cross-entropy and mean squared errors, a scalar.

    An atom that is put at .999 instead of .001 costs as if it were at the other end of the
    cell: coordinates are compared as they stand.
    """
    lengths, angles = parameters_of(lattice)
    scaled = lengths / counts.to(lengths)[:, None].pow(1.0 / 3.0)
    return (
        weights.species * functional.cross_entropy(found.species_logits, species)
        + weights.lengths * functional.mse_loss(found.lengths, scaled)
        + weights.angles * functional.mse_loss(found.angles, angles)
        + weights.coordinates * functional.mse_loss(found.coordinates, coordinates)
    )


def kl_per_atom(posterior: Posterior) -> Tensor:
    """KL from the standard normal in nats, mean over atoms of the sum over dimensions."""
    log_variance = posterior.log_variance.clamp(*LOG_VARIANCE_RANGE)
    squared = posterior.mean.square()
    nats = 0.5 * (squared + log_variance.exp() - log_variance - 1.0).sum(-1)
    return nats.mean()


def draw(posterior: Posterior, noise: Tensor) -> Tensor:
    """Latents of atoms for the given standard normal noise, shape of the mean."""
    log_variance = posterior.log_variance.clamp(*LOG_VARIANCE_RANGE)
    return posterior.mean + torch.exp(0.5 * log_variance) * noise


ENCODERS = {"transformer": TransformerEncoder, "cspnet": MessageEncoder}


class BaselineModule(nn.Module):
    """Encoder, latents of atoms and decoder of chemeleon2.

    Parameters
    ----------
    architecture
        Sizes.
    seed
        Of the starting weights; 0 is a seed like any other.
    weights
        Of the parts of the loss.
    augmented
        Shift and turn training batches.
    """

    def __init__(
        self,
        architecture: BaselineArchitecture,
        seed: int,
        weights: BaselineWeights | None = None,
        *,
        augmented: bool = True,
    ) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.weights = weights or BaselineWeights()
        self.augmented = augmented
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder: nn.Module = ENCODERS[a.encoder](a)
            self.posterior = nn.Linear(a.width, 2 * a.latent, bias=False)
            self.enter = nn.Linear(a.latent, a.width, bias=False)
            self.decoder = Transformer(a.width, a.heads, a.feedforward, a.decoder_layers)
            self.species = nn.Linear(a.width, a.elements)
            self.coordinates = nn.Linear(a.width, 3, bias=False)
            self.lattice = nn.Linear(a.width, 6, bias=False)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic number of every place of the logits; place 0 is read as hydrogen."""
        return (1, *range(1, self.architecture.elements))

    def infer(self, batch: CrystalBatch) -> Posterior:
        """Posterior of the latents of every atom, shapes (1, N, L)."""
        padding = Padding.of(batch.layout.owner, batch.layout.counts)
        features = self.encoder(batch.species, batch.coordinates, batch.lattice, padding)
        mean, log_variance = self.posterior(features)[None].chunk(2, dim=-1)
        return Posterior(mean, log_variance)

    def output(self, z: Tensor, layout: Layout) -> BaselineOutput:
        """What the decoder gives for latents (N, L)."""
        padding = Padding.of(layout.owner, layout.counts)
        features = self.enter(z)
        features = features + index_embedding(padding.place, features.shape[-1])
        features = self.decoder(features, padding)
        cell = self.lattice(padding.mean(features))
        return BaselineOutput(
            species_logits=self.species(features),
            coordinates=self.coordinates(features),
            lengths=cell[:, :3],
            angles=cell[:, 3:],
        )

    def cells(self, found: BaselineOutput, counts: Tensor) -> Tensor:
        """Rows of the cells in Angstrom, shape (B, 3, 3)."""
        scale = counts.to(found.lengths)[:, None].pow(1.0 / 3.0)
        return matrix_of(found.lengths * scale, found.angles)

    def loss(self, batch: CrystalBatch, beta: Tensor) -> LossTerms:
        """The objective in named parts, each of shape (1,).

        Parameters
        ----------
        batch
            Crystals with noise; in training they are shifted and turned first.
        beta
            Weight of the KL, shape (1,); chemeleon2 has `KL_WEIGHT`.
        """
        if self.training and self.augmented:
            batch = augment(batch)
        posterior = self.infer(batch)
        found = self.output(draw(posterior, batch.noise)[0], batch.layout)
        rebuilt = reconstruction(
            found,
            batch.species,
            batch.coordinates,
            batch.lattice,
            batch.layout.counts,
            self.weights,
        ).reshape(1)
        nats = kl_per_atom(posterior).reshape(1)
        return LossTerms(rebuilt + beta * nats, rebuilt, nats)


@torch.no_grad()
def reconstruct(module: BaselineModule, crystals: Crystals) -> Crystals:
    """Encode crystals and decode the means of their latents.

    Parameters
    ----------
    module
        A trained model; it is put into evaluation mode.
    crystals
        In any cell.

    Returns
    -------
    Crystals
        In the order, cell and orientation of the input; an element that was not found among
        the known ones becomes hydrogen, as in chemeleon2.

    Raises
    ------
    DataError
        If an element is not in the model's table.
    """
    module.eval()
    frame = niggli(crystals, module.architecture.elements)
    reduced = frame.crystals
    device = next(module.parameters()).device
    tensors = CrystalBatch.of(reduced, device)
    species = np.zeros_like(reduced.species)
    coordinates = np.zeros_like(reduced.coordinates)
    lattices = np.zeros_like(reduced.lattices)
    for batch in evaluation_batches(tensors, module.architecture.latent, noise_seed=None):
        found = module.output(module.infer(batch).mean[0], batch.layout)
        order = batch.order.cpu().numpy()
        atoms = reduced.atoms_of(order)
        species[atoms] = found.species_logits.argmax(-1).clamp(min=1).cpu().numpy()
        coordinates[atoms] = found.coordinates.double().cpu().numpy()
        lattices[order] = module.cells(found, batch.layout.counts).double().cpu().numpy()
    rebuilt = Crystals(
        species=species,
        coordinates=coordinates,
        lattices=lattices,
        offsets=reduced.offsets,
        names=reduced.names,
    )
    return frame.restore(rebuilt, crystals)
