"""Tiny recipes and what tests of runs compare."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from variolite.crystals.crystal_model import CrystalModel
from variolite.crystals.crystals import Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.recipe import CrystalRecipe, load_crystal_recipe
from variolite.training import RunFolder, read_history

TABULAR = Path(__file__).parents[2] / "training" / "fixtures" / "model_format_1"

TINY = (
    *("training.epochs=2", "training.batch_size=16", "model.width=32", "model.feedforward=32"),
    *("model.latent=4", "model.encoder_layers=1", "model.decoder_layers=1", "split.test=0.2"),
    *("split.validation=0.1", "prior.width=16", "prior.layers=1", "prior.heads=2"),
    "prior.epochs=4",
)


@dataclass(frozen=True)
class Run:
    """A finished run with what it was made of."""

    folder: RunFolder
    model: CrystalModel
    crystals: Crystals
    recipe: CrystalRecipe

    @property
    def known(self):
        """The crystals whose elements the model knows."""
        return self.crystals.take(self.crystals.made_of(self.model.elements))


def recipe_of(*overrides):
    """A tiny recipe without a prior, and with some changes."""
    return load_crystal_recipe("crystals/mp_20/vae_dng", [*TINY, "prior.kind=none", *overrides])


def energetic():
    """Textbook crystals with an energy that depends on the density."""
    crystals = textbook_crystals()
    energy = -np.log(crystals.volumes / crystals.counts)
    return replace(crystals, properties={**crystals.properties, "energy": energy})


def assert_same_weights(first, second):
    """Fail unless every tensor of the networks is bit-equal."""
    one, two = first.module.state_dict(), second.module.state_dict()
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def told_of(place):
    """The history of a run without its times."""
    records = read_history(RunFolder(place).history_file)
    return [{k: v for k, v in asdict(record).items() if k != "seconds"} for record in records]
