"""Who takes part: recipes at one size, and what can be had without a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from benchmarks.crystals.baseline_chemeleon2 import (
    BaselineArchitecture,
    BaselineModule,
    niggli,
    reconstruct,
)
from torch import nn

from variolite.crystals.crystal_model import CrystalModel, canonicalize, encode
from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.geometry.frame import Frame
from variolite.crystals.matching import fixed_template, nearest_template, random_coordinates
from variolite.crystals.model import CrystalBatch, CrystalBatches, CrystalModule
from variolite.crystals.model.network import bf16_is_fast
from variolite.crystals.recipe import CrystalRecipe, load_crystal_recipe
from variolite.crystals.run import build

LATENT = 8
"""Latent dimensions of an atom, the same for all."""

RISE = 0.05
LEAST = 0.01


@dataclass(frozen=True)
class Size:
    """Sizes of both transformers."""

    width: int
    heads: int
    layers: int
    feedforward: int
    messages: int
    """Layers of the encoder that passes messages, to the same number of parameters."""


SIZES = {
    "0.86M": Size(width=128, heads=4, layers=3, feedforward=256, messages=2),
    "6.5M": Size(width=256, heads=8, layers=4, feedforward=1024, messages=5),
}


@dataclass(frozen=True)
class Trial:
    """What is tuned, with the same number of trials for every opponent.

    Attributes
    ----------
    rate
        Largest learning rate.
    decay
        ``none`` keeps it; ``cosine`` lets it rise for a twentieth of the budget and then
        fall to a hundredth along half a cosine.
    batch
        Crystals a step.
    """

    rate: float
    decay: str
    batch: int

    def at(self, share: float) -> float:
        """Learning rate when this share of the budget is spent."""
        if self.decay == "none":
            return self.rate
        if share < RISE:
            return self.rate * max(share / RISE, LEAST)
        done = min((share - RISE) / (1.0 - RISE), 1.0)
        fallen = LEAST + (1.0 - LEAST) * 0.5 * (1.0 + math.cos(math.pi * done))
        return self.rate * fallen

    @property
    def name(self) -> str:
        """For file names and tables."""
        return f"{self.rate:g}-{self.decay}-{self.batch}"


TRIALS = tuple(Trial(rate, "cosine", 128) for rate in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2))

RECIPES = {
    "perov_5": "crystals/perov_5",
    "mp_20": "crystals/mp_20/vae_dng",
    "carbon_htl": "crystals/carbon_24",
    "carbon_lth": "crystals/carbon_24",
    "carbon_random": "crystals/carbon_24",
    "mpts_52": "crystals/mpts_52",
}
"""Our recipe for each data set."""


def _sizes(size: Size) -> list[str]:
    return [
        f"model.latent={LATENT}",
        f"model.width={size.width}",
        f"model.heads={size.heads}",
        f"model.encoder_layers={size.layers}",
        f"model.decoder_layers={size.layers}",
        f"model.feedforward={size.feedforward}",
    ]


def _ours(name: str, size: Size) -> CrystalRecipe:
    return load_crystal_recipe(RECIPES[name], _sizes(size))


def _source(name: str, size: Size) -> CrystalRecipe:
    del name
    return load_crystal_recipe("crystals/source", _sizes(size))


@dataclass(frozen=True)
class Opponent:
    """A model that is trained.

    Attributes
    ----------
    title
        For the table.
    recipe
        By data set and size.
    trial
        What it trains with where nothing was tuned.
    like
        Opponent whose tuned trial it takes, if it is not tuned itself.
    sets
        Data sets it takes part in; all by default.
    encoder
        Of the rebuilt chemeleon2; None for our network.
    """

    title: str
    recipe: Callable[[str, Size], CrystalRecipe]
    trial: Trial
    like: str | None = None
    sets: tuple[str, ...] | None = None
    encoder: Literal["transformer", "cspnet"] | None = None

    def build(self, recipe: CrystalRecipe, size: Size, crystals: Crystals) -> nn.Module:
        """Untrained network for crystals in its frame."""
        if self.encoder is None:
            return build(recipe, crystals)
        model = recipe.model
        architecture = BaselineArchitecture(
            encoder=self.encoder,
            latent=model.latent,
            width=model.width,
            heads=model.heads,
            encoder_layers=size.messages if self.encoder == "cspnet" else size.layers,
            decoder_layers=model.decoder_layers,
            feedforward=model.feedforward,
        )
        return BaselineModule(architecture, recipe.training.seed)


def _ours_float32(name: str, size: Size) -> CrystalRecipe:
    return load_crystal_recipe(RECIPES[name], [*_sizes(size), "training.precision=float32"])


DIVERGENCE = {"mp_20": 1.25e-3, "carbon_htl": 1.5e-3, "carbon_lth": 3.5e-4}
"""Weight of the divergence at which ours has the rate that the source comes to in 90 s.

A weight e times as large takes about half a nat from each latent dimension in use. On
Perov-5 the source comes to a rate that no weight gives ours.
"""


def _ours_equal(name: str, size: Size) -> CrystalRecipe:
    more = f"loss.kl={DIVERGENCE[name]}"
    return load_crystal_recipe(RECIPES[name], [*_sizes(size), more])


FREQUENT = Trial(3e-3, "cosine", 128)
PLAIN = Trial(1e-3, "none", 256)

OPPONENTS: Mapping[str, Opponent] = {
    "ours": Opponent("Variolite", _ours, FREQUENT),
    "ours_equal": Opponent(
        "Variolite at the rate of the source", _ours_equal, FREQUENT, "ours", tuple(DIVERGENCE)
    ),
    "source": Opponent("source, rebuilt", _source, PLAIN, encoder="transformer"),
    "source_cspnet": Opponent("source with CSPNet encoder", _source, PLAIN, encoder="cspnet"),
}

OURS_IN_FLOAT32 = Opponent("Variolite, all in float32", _ours_float32, FREQUENT)
"""For the throughput: what rounded matrix products gain."""

BASELINES: Mapping[str, tuple[str, Callable[[Crystals, Crystals, int], Crystals]]] = {
    "random_coordinates": (
        "random coordinates, all else right",
        lambda test, _, seed: random_coordinates(test, seed=seed),
    ),
    "fixed_template": (
        "one training crystal for all, types right",
        lambda test, train, seed: fixed_template(test, train, seed=seed),
    ),
    "nearest_template": (
        "nearest training crystal, types right",
        lambda test, train, seed: nearest_template(test, train, seed=seed),
    ),
}


@dataclass(frozen=True)
class Contestant:
    """An untrained network with its training crystals.

    Attributes
    ----------
    module
        Built for the training crystals.
    recipe
        It was built by.
    frame
        Training crystals as it sees them.
    batches
        Of every epoch.
    """

    module: nn.Module
    recipe: CrystalRecipe
    frame: Frame
    batches: CrystalBatches

    @property
    def parameters(self) -> int:
        """Weights that are trained."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def reconstruct(self, crystals: Crystals) -> Crystals:
        """Decode the means of the latents, in the cells that were given."""
        self.module.eval()
        if isinstance(self.module, BaselineModule):
            return reconstruct(self.module, crystals)
        return CrystalModel(self.module).reconstruct(crystals)

    def encode(self, crystals: Crystals) -> Latents:
        """Posterior of every atom, in the order of the input."""
        self.module.eval()
        if isinstance(self.module, BaselineModule):
            return encode(self.module, niggli(crystals).crystals)
        return CrystalModel(self.module).encode(crystals)


def equal_recipe(
    name: str, opponent: Opponent, size: Size, train: Crystals, seed: int
) -> CrystalRecipe:
    """Recipe with as many parameters as the rebuilt source has at this size, or fewer."""
    recipe = _with_seed(opponent.recipe(name, size), seed)
    if opponent.encoder is None:
        rebuilt = OPPONENTS["source"].build(_source(name, size), size, train)
        recipe = _widened(recipe, train, most=_count(rebuilt))
    return recipe


def contestant(
    name: str, opponent: Opponent, size: Size, train: Crystals, seed: int, batch: int
) -> Contestant:
    """Build an opponent from its `equal_recipe`."""
    recipe = equal_recipe(name, opponent, size, train, seed)
    frame = canonicalize(train) if opponent.encoder is None else niggli(train)
    # The statistics of cells are those of the cells that the network sees.
    module = opponent.build(recipe, size, frame.crystals)
    device = torch.device("cpu")
    if isinstance(module, CrystalModule):
        # As `variolite fit` does.
        module.use_bf16(recipe.training.precision == "auto" and bf16_is_fast(device))
    tensors = CrystalBatch.of(frame.crystals, device)
    return Contestant(module, recipe, frame, CrystalBatches(tensors, batch, LATENT, seed))


def _widened(recipe: CrystalRecipe, train: Crystals, *, most: int) -> CrystalRecipe:
    """Widen the feed-forward layers by as many sixteens as there are parameters to spare."""
    model: Any = recipe.model

    def wider(sixteens: int) -> CrystalRecipe:
        changed = model.model_copy(update={"feedforward": model.feedforward + 16 * sixteens})
        return recipe.model_copy(update={"model": changed})

    now, after = (_count(build(wider(sixteens), train)) for sixteens in (0, 1))
    return wider(max(0, (most - now) // (after - now)))


def _with_seed(recipe: CrystalRecipe, seed: int) -> CrystalRecipe:
    training = recipe.training.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"training": training})


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def divergence_per_atom(contestant: Contestant, crystals: Crystals) -> float:
    """Mean KL of the posterior from the standard normal in nats per atom."""
    latents = contestant.encode(crystals)
    assert latents.log_variance is not None
    log_variance = latents.log_variance.astype(np.float64)
    mean = latents.mean.astype(np.float64)
    return float(0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1.0).sum(1).mean())
