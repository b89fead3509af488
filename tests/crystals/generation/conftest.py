"""A toy world: crystals whose latents are known exactly, an exact codec, and one prior."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from variolite.crystals.crystals import Crystal, Crystals, Latents
from variolite.crystals.generation import composition, starts
from variolite.crystals.generation.prior import fit_prior
from variolite.crystals.recipe import PriorSpec

ELEMENTS = (3, 8, 11, 17, 22)  # Li, O, Na, Cl, Ti
CODES = np.array([[1.0, 0.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [0.0, 1.5]])
SHIFT = np.linspace(-2.0, 2.0, 9)
SPREAD = np.linspace(0.5, 3.0, 9)


@dataclass(frozen=True)
class ToyCodec:
    """Latents of nine dimensions: element (2), coordinates on circles (6), log volume per atom."""

    species_given: bool = False
    broken: bool = False  # all atoms are decoded to one place

    def encode(self, crystals):
        """Write down what every atom is."""
        place = np.searchsorted(ELEMENTS, crystals.species)
        angle = 2.0 * np.pi * crystals.coordinates
        volume = np.log(crystals.volumes / crystals.counts)[crystals.owner, None] - 2.7
        facts = np.concatenate([CODES[place], np.cos(angle), np.sin(angle), volume], axis=1)
        mean = (facts * SPREAD + SHIFT).astype(np.float32)
        variance = np.broadcast_to(2.0 * np.log(0.02 * SPREAD), mean.shape)
        return Latents(mean, variance.astype(np.float32), crystals.offsets, crystals.names)

    def decode(self, latents, *, species=None):
        """Read it off again; cells are cubes."""
        facts = (latents.mean - SHIFT) / SPREAD
        if not self.species_given:
            distance = ((facts[:, None, :2] - CODES) ** 2).sum(axis=2)
            species = np.array(ELEMENTS)[distance.argmin(axis=1)]
        coordinates = np.arctan2(facts[:, 5:8], facts[:, 2:5]) / (2.0 * np.pi) % 1.0
        sums = np.add.reduceat(facts[:, 8], latents.offsets[:-1])
        edge = np.cbrt(np.exp(sums / latents.counts + 2.7) * latents.counts)
        species, coordinates = species.astype(np.uint8), coordinates * (not self.broken)
        lattices = edge[:, None, None] * np.eye(3)
        return Crystals(species, coordinates, lattices, latents.offsets, latents.names)


@pytest.fixture(scope="session")
def codec():
    return ToyCodec()


@pytest.fixture(scope="session")
def crystals():
    """Rock salts AB of 2 or 8 atoms and perovskite-like ABO3, with columns of properties."""
    random = np.random.default_rng(0)
    face = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    kinds = (
        np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]),
        np.concatenate([face, face + np.array([0.5, 0, 0])]) % 1.0,
        np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]),
    )
    made, energies = [], []
    for place in range(256):
        kind = random.integers(3)
        cation, sites = int(random.choice([3, 11])), kinds[kind]
        species = [cation, 22, 8, 8, 8]
        if kind < 2:
            species = np.repeat([cation, random.choice([8, 17])], len(sites) // 2)
        per_atom = 10.0 + 0.3 * cation + random.normal(0.0, 0.3)
        energies.append(-0.1 * cation - 0.5 * kind + 0.02 * per_atom)
        lattice = np.cbrt(per_atom * len(species)) * np.eye(3)
        made.append(Crystal(np.array(species, np.uint8), sites, lattice, f"toy-{place}"))
    crystals = Crystals.of(made)
    groups = np.where(crystals.counts == 5, 221.0, 225.0)
    return replace(crystals, properties={"energy": np.array(energies), "space_group": groups})


@pytest.fixture(scope="session")
def prior(codec, crystals):
    """A prior with the energy and the space group as conditions, and three prototypes."""
    spec = PriorSpec(width=32, layers=2, heads=2, epochs=50, batch_size=64, learning_rate=5e-3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "FEWEST_STEPS", 350)
        patch.setattr(composition, "EPOCHS", 1)
        # There are few formulas, and elements and sites go together more than they usually do.
        patch.setattr(starts, "FEWEST_FORMULAS", 2)
        patch.setattr(starts, "SAME_PROTOTYPE", 3.0)
        return fit_prior(codec.encode(crystals), crystals, spec, ("energy",))
