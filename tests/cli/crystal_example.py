"""A tiny run on textbook crystals that all tests of the commands for crystals share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.run import load_run
from variolite.training import RunFolder

__all__ = ["TINY_CRYSTALS", "CrystalExample", "options"]

TINY_CRYSTALS = (
    "training.epochs=2",
    "training.batch_size=16",
    "model.width=32",
    "model.feedforward=32",
    "model.latent=4",
    "split.test=0.2",
    "prior.kind=none",
)


def options(*changes: str) -> tuple[str, ...]:
    """As ``--set`` options."""
    return tuple(part for change in (*TINY_CRYSTALS, *changes) for part in ("--set", change))


@dataclass(frozen=True)
class CrystalExample:
    """Structures as a store, and a run trained on them."""

    data: Path
    run: Path

    @property
    def crystals(self) -> Crystals:
        return load_crystals(self.data)

    @property
    def known(self) -> Crystals:
        """Those without an element that the run lacks."""
        crystals = self.crystals
        model = load_run(RunFolder(self.run))
        strange = crystals.owner[~np.isin(crystals.species, model.elements)]
        return crystals.take(~np.isin(np.arange(len(crystals)), strange))
