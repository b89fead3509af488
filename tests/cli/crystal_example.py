"""A tiny run on textbook crystals that all tests of the commands for crystals share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from variolite.crystals.files.reading import load_crystals
from variolite.crystals.model import CrystalModule
from variolite.crystals.recipe import CrystalArchitecture, LossWeights
from variolite.training import RunFolder

DNG = "crystals/mp_20/vae_dng"

TINY_CRYSTALS = ("training.epochs=2", "training.batch_size=16", "split.test=0.2", "prior.kind=none")
TINY_CRYSTALS += ("model.width=32", "model.feedforward=32", "model.latent=4")


def options(*changes):
    """As ``--set`` options."""
    return tuple(part for change in (*TINY_CRYSTALS, *changes) for part in ("--set", change))


@dataclass(frozen=True)
class CrystalExample:
    """Structures as a store, and a run trained on them."""

    data: Path
    run: Path

    @property
    def crystals(self):
        return load_crystals(self.data)

    @property
    def known(self):
        """Those without an element that the run lacks."""
        crystals, elements = self.crystals, RunFolder(self.run).model().elements
        strange = crystals.owner[~np.isin(crystals.species, elements)]
        return crystals.take(~np.isin(np.arange(len(crystals)), strange))


def untrained(elements, given=()):
    """A small network that is not trained; its cells are about 4 Angstrom wide all the same."""
    size = {"latent": 4, "width": 16, "heads": 2, "feedforward": 32}
    shape = CrystalArchitecture(**size, encoder_layers=1, decoder_layers=1, given=given)
    module = CrystalModule(shape, LossWeights(), elements).eval()
    module.set_log_metric_statistics([np.log(4.0) - np.log(2.0) / 3.0] * 3 + [0.0] * 3, [0.01] * 6)
    return module
