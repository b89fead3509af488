"""Random crystals without any symmetry, small untrained models, and what all tests compare by."""

import numpy as np
from hypothesis import strategies as st

from variolite.crystals.crystal_model import CrystalModel
from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.invariance import TRANSFORMATIONS
from variolite.crystals.model import CrystalModule
from variolite.crystals.recipe import CrystalArchitecture, LossWeights

ALL = [draw for draw, _ in TRANSFORMATIONS.values()]
"""Every way to describe a crystal otherwise."""


def drawn_crystals(seed, count=4, atoms=7, elements=3):
    """Draw crystals of 1 to ``atoms`` atoms, well apart, in cells of any shape."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3) / 4
    made = []
    for place in range(count):
        n = int(random.integers(1, atoms + 1))
        edge = 2.6 * np.cbrt(max(n, 2))
        lattice = edge * (np.eye(3) + random.uniform(-0.25, 0.25, (3, 3)))
        coordinates = random.permutation(grid)[:n] + random.uniform(-0.04, 0.04, (n, 3))
        species = random.choice([3, 8, 11, 14, 17, 26, 38, 82], elements)[
            random.integers(elements, size=n)
        ]
        made.append(Crystal(species.astype(np.uint8), coordinates, lattice, f"{seed}-{place}"))
    return Crystals.of(made)


@st.composite
def drawn_sets(draw):
    """Sets of one to five such crystals."""
    seed = draw(st.integers(0, 2**32 - 1))
    return drawn_crystals(seed, draw(st.integers(1, 5)), draw(st.integers(1, 9)))


def model_for(crystals, *, seed=0, **sizes):
    """An untrained model of width 32 that knows the elements of some crystals."""
    small = {"latent": 6, "width": 32, "feedforward": 48, "encoder_layers": 2, "decoder_layers": 2}
    architecture = CrystalArchitecture.model_validate(small | sizes)
    elements = np.unique(crystals.species)
    return CrystalModel(CrystalModule(architecture, LossWeights(), elements, seed=seed).eval())


def cut(crystals, number):
    """So many crystals, evenly spread."""
    return crystals.take(np.arange(len(crystals))[:: max(1, len(crystals) // number)][:number])


def wrapped_difference(first, second):
    """Fractional differences to the nearest image along each axis."""
    difference = first - second
    return difference - np.rint(difference)
