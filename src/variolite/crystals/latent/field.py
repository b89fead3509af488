"""A flow or diffusion prior once it is fitted: conditions in, standardised latents out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.latent.conditions import Conditions
from variolite.crystals.latent.fitting import half_precision
from variolite.crystals.latent.known import Known, Vocabulary, atoms_of
from variolite.crystals.latent.network import SetTransformer, Shape
from variolite.crystals.latent.objectives import OBJECTIVES
from variolite.crystals.model.batch import Layout
from variolite.errors import ModelFileError
from variolite.training.batches import generator

__all__ = ["FieldDensity", "blank_network"]

ATOMS_AT_ONCE = 4_096


@dataclass(frozen=True)
class FieldDensity:
    """A set transformer that moves noise to latents.

    Attributes
    ----------
    kind
        ``flow`` or ``diffusion``.
    network
        Fitted, in evaluation mode.
    vocabulary
        Of its conditions.
    """

    kind: str
    network: SetTransformer
    vocabulary: Vocabulary

    @property
    def latent(self) -> int:
        """Dimensions of the latent of an atom."""
        return self.network.shape.latent

    def to(self, device: torch.device) -> None:
        """Move the network to another device."""
        self.network.to(device)

    def sample(
        self,
        known: Known,
        *,
        seed: int,
        temperature: float = 1.0,
        guidance: float = 1.0,
        steps: int = 10,
    ) -> NDArray[np.float32]:
        """Draw standardised latents for crystals of known sizes, shape (N, L).

        Parameters
        ----------
        known
            Sizes and conditions.
        seed
            Of the noise.
        temperature
            Deviation of the noise that the path starts from.
        guidance
            Weight w of what is asked for: free + w (told - free) (J. Ho and T.
            Salimans, 2022). 1 follows the conditions as they were learned, and costs
            half of any other weight.
        steps
            Of the sampler.
        """
        device = next(self.network.parameters()).device
        order = np.argsort(known.counts, kind="stable")
        found = np.empty((len(known.species), self.network.shape.latent), dtype=np.float32)
        ends = np.cumsum(known.counts[order])
        part = (ends - 1) // ATOMS_AT_ONCE
        for number in np.unique(part):
            chosen = order[part == number]
            some = known.take(chosen)
            layout = Layout.of(some.counts, device)
            told = Conditions.of(some, self.vocabulary, device)
            shape = (len(some.species), found.shape[1])
            noise = torch.randn(
                shape, generator=generator(device, seed, int(number)), device=device
            )
            drawn = self._follow(noise * temperature, layout, told, guidance, steps)
            found[atoms_of(known.offsets, chosen)] = drawn.float().cpu().numpy()
        return found

    @torch.no_grad()
    def _follow(
        self, noise: Tensor, layout: Layout, told: Conditions, guidance: float, steps: int
    ) -> Tensor:
        free = told.free()
        guided = guidance != 1.0 and told.any

        def field(z: Tensor, time: Tensor) -> Tensor:
            times = time.expand(len(layout.counts))
            with half_precision(z.device):
                own: Tensor = self.network(z, times, layout, told).float()
                if not guided:
                    return own
                return torch.lerp(self.network(z, times, layout, free).float(), own, guidance)

        return OBJECTIVES[self.kind].follow(field, noise, steps)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the weights."""
        return {name: value.detach().cpu() for name, value in self.network.state_dict().items()}

    def description(self) -> dict[str, Any]:
        """Return the sizes of the network, JSON-able."""
        return self.network.shape.to_dict()

    @classmethod
    def rebuild(
        cls,
        kind: str,
        description: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        vocabulary: Vocabulary,
    ) -> FieldDensity:
        """Rebuild a prior from `description` and `to_tensors`.

        Raises
        ------
        ModelFileError
            If the tensors do not fit the sizes.
        """
        shape = Shape(**{name: int(description[name]) for name in Shape.__dataclass_fields__})
        network = blank_network(shape, seed=0)
        load_exactly(network, tensors, "the network of the prior")
        return cls(kind, network.eval(), vocabulary)


def blank_network(shape: Shape, seed: int) -> SetTransformer:
    """Return a network whose starting weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SetTransformer(shape)


def load_exactly(module: torch.nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load a state whose names, shapes and types are those of the module.

    Raises
    ------
    ModelFileError
        If a tensor is missing, foreign or of another shape or type.
    """
    expected = module.state_dict()
    for name, own in expected.items():
        stored = tensors.get(name)
        if stored is None or stored.shape != own.shape or stored.dtype != own.dtype:
            found = "nothing" if stored is None else f"{tuple(stored.shape)} {stored.dtype}"
            raise ModelFileError(
                f"tensor {name} of {what} should be {tuple(own.shape)} {own.dtype}, found {found}"
            )
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise ModelFileError(f"unexpected tensor {extra[0]} in {what}")
    module.load_state_dict(dict(tensors))
