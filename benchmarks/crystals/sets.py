"""The data sets of the contest and how each is cut, as the protocol says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files.reading import load_crystals

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "crystals"

TUNING_SHARE = 0.1
"""Part of the training rows on which learning rates are chosen."""

YEAR = 2003
"""MPTS-52: crystals found from this year on are test crystals."""


@dataclass(frozen=True)
class ContestSet:
    """Crystals to train on and crystals to be scored on.

    Attributes
    ----------
    title
        For the table.
    train, test
        No crystal is in both.
    """

    title: str
    train: Crystals
    test: Crystals

    @property
    def unseen_formulas(self) -> np.ndarray:
        """Which test crystals have a formula that no training crystal has, shape (B,)."""
        return ~np.isin(reduced_formulas(self.test), reduced_formulas(self.train))

    def for_tuning(self) -> ContestSet:
        """Training rows alone, a tenth of them held back; the test crystals stay closed."""
        train, held = _random(self.train, TUNING_SHARE, seed=20_240)
        return ContestSet(f"{self.title} (tuning)", train, held)


def _random(crystals: Crystals, share: float, seed: int) -> tuple[Crystals, Crystals]:
    order = np.random.default_rng(seed).permutation(len(crystals))
    cut = round(share * len(crystals))
    return crystals.take(np.sort(order[cut:])), crystals.take(np.sort(order[:cut]))


def _read(folder: Path, *names: str) -> Crystals:
    return Crystals.concatenate([load_crystals(folder / f"{name}.csv.gz") for name in names])


def _files(title: str, train: tuple[str, ...], test: str, folder: Path) -> ContestSet:
    return ContestSet(title, _read(folder, *train), _read(folder, test))


def _carbon_random(folder: Path) -> ContestSet:
    train, test = _random(_read(folder, "carbon_24/htl_train"), 0.1, seed=0)
    return ContestSet("Carbon-24, 90/10 of htl", train, test)


def _mpts(folder: Path) -> ContestSet:
    crystals = _read(folder, "mpts_52/val")
    others = _read(
        folder, "mp_20/biternary_val", "mp_20/train_head", "mp_20/biternary_test_a"
    ).names
    crystals = crystals.take(~np.isin(crystals.names, others))
    year = crystals.properties["year"].astype(float)
    train, test = crystals.take(year < YEAR), crystals.take(year >= YEAR)
    return ContestSet(f"MPTS-52, before and from {YEAR}", train, test)


SETS: Mapping[str, Callable[[Path], ContestSet]] = {
    "perov_5": partial(_files, "Perov-5", ("perov_5/train",), "perov_5/test"),
    "mp_20": partial(
        _files,
        "MP-20, binary and ternary",
        ("mp_20/biternary_val", "mp_20/train_head"),
        "mp_20/biternary_test_a",
    ),
    "carbon_htl": partial(
        _files, "Carbon-24, large to small", ("carbon_24/htl_train",), "carbon_24/htl_val"
    ),
    "carbon_lth": partial(
        _files, "Carbon-24, small to large", ("carbon_24/lth_train",), "carbon_24/lth_val"
    ),
    "carbon_random": _carbon_random,
    "mpts_52": _mpts,
}
"""Name to how it is read from the folder of data."""
