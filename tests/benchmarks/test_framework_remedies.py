"""Augmented rows are rows of a possible framework; changes to training change what they say."""

import numpy as np
import polars as pl
import pytest
import torch

pytest.importorskip("pymatgen")
pytest.importorskip("rdkit")

from benchmarks.frameworks import remedies, remedy_training
from pymatgen.core import Lattice

from variolite.frameworks.columns import CELL
from variolite.vae import Architecture, Batch, TabularModule
from variolite.vae.sets import SetShape

CELLS = [[10.0, 11.0, 12.0, 90.0, 90.0, 90.0], [7.0, 9.0, 13.0, 81.0, 77.0, 68.0]]
ARCHITECTURE = Architecture(
    likelihoods=("gaussian",) * 3,
    category_levels=(5,),
    sets=(SetShape(4, 2), SetShape(30, 3), SetShape(6, 2)),
    condition=1,
    latent=4,
    encoder=(8,),
    decoder=(3 * remedy_training.OWN,) * 2,
)


@pytest.fixture
def rows():
    table = pl.DataFrame(CELLS, schema=CELL, orient="row")
    volume = [Lattice.from_parameters(*cell).volume for cell in CELLS]
    return table.with_columns(
        volume=pl.Series(volume),
        atoms=pl.Series([100, 60]),
        density=pl.Series([1.2, 1.5]),
        packing_fraction=pl.Series([0.5, 0.6]),
        void_fraction=pl.Series([0.5, 0.4]),
        accessible_void_fraction=pl.Series([0.2, 0.0]),
        pore_volume=pl.Series([0.2, 0.0]),
        surface_area_mass=pl.Series([900.0, 0.0]),
        surface_area_volume=pl.Series([1080.0, 0.0]),
        largest_cavity_diameter=pl.Series([9.0, 3.0]),
        pore_limiting_diameter=pl.Series([5.0, 2.0]),
    )


def volumes(rows):
    return [Lattice.from_parameters(*cell).volume for cell in rows.select(CELL).iter_rows()]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_supercell_keeps_the_density(rows, axis):
    made = remedy_training.supercell(rows, axis)
    np.testing.assert_allclose(volumes(made), 2.0 * rows["volume"], rtol=1e-6)
    np.testing.assert_allclose(made["volume"], 2.0 * rows["volume"])
    for per_volume in ("atoms", "volume"):
        assert (made[per_volume] / rows[per_volume]).to_list() == [2.0, 2.0]
    kept = [c for c in rows.columns if c not in (*CELL, "volume", "atoms")]
    assert made.select(kept).equals(rows.select(kept))
    # Niggli: sorted, and no edge can be shortened by another.
    lattices = [Lattice.from_parameters(*cell) for cell in made.select(CELL).iter_rows()]
    assert all(one.a <= one.b + 1e-6 <= one.c + 2e-6 for one in lattices)


def test_expansion_keeps_mass_and_atoms(rows):
    made = remedy_training.expanded(rows, 1)
    np.testing.assert_allclose(volumes(made), made["volume"], rtol=1e-9)
    assert (made["volume"] != rows["volume"]).all()
    for share in ("density", "packing_fraction"):
        np.testing.assert_allclose(made[share] * made["volume"], rows[share] * rows["volume"])
    solid = [(1.0 - t["void_fraction"]) * t["volume"] for t in (made, rows)]
    np.testing.assert_allclose(solid[0], solid[1])
    # All the volume that is new is pore, by gram too: 1 / density is the volume of a gram.
    grown = made["pore_volume"] - rows["pore_volume"]
    assert grown[0] == pytest.approx(1.0 / made["density"][0] - 1.0 / rows["density"][0])
    assert made["pore_volume"][1] == made["accessible_void_fraction"][1] == 0.0
    area = made["surface_area_mass"] * made["density"]
    np.testing.assert_allclose(area, made["surface_area_volume"], rtol=1e-6)


def batch(count=12):
    random = torch.Generator().manual_seed(0)
    sets = tuple(
        torch.cat([torch.randint(s.levels, (1, count, 1), generator=random),
                   torch.full((1, count, 1), -1)], dim=2)
        for s in ARCHITECTURE.sets
    )  # fmt: skip
    return Batch(
        torch.randn((1, count, 3), generator=random),
        None,
        torch.randint(5, (1, count, 1), generator=random),
        torch.randn((1, count, 1), generator=random),
        torch.randn((1, count, 4), generator=random),
        sets=sets,
    )


def test_the_objective_without_a_change_is_that_of_the_engine():
    module, beta = TabularModule(ARCHITECTURE, 0), torch.tensor([0.7])
    plain = module.loss(batch(), beta)
    same = remedy_training.objective(module, remedy_training.Change(), batch(), beta)
    assert torch.allclose(plain.total, same.total)
    free = remedy_training.objective(module, remedy_training.Change(free_bits=50.0), batch(), beta)
    assert torch.allclose(free.total, plain.reconstruction + 0.7 * 4 * 50.0)
    change = remedy_training.Change(diversity=2.0)
    posterior = module.infer(batch())
    likelihood = module.generate(posterior.draw(batch().noise)[0], batch().condition)
    entropy = remedy_training.entropy(likelihood)
    assert 0.0 < entropy.item() <= np.log([5, 4, 30, 6]).sum() + 1e-5
    rewarded = remedy_training.objective(module, change, batch(), beta)
    assert torch.allclose(rewarded.total, plain.total - 2.0 * entropy)


def test_separate_decoders_stay_apart():
    module = TabularModule(ARCHITECTURE, 0)
    remedy_training.separate(module)
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(3):
        optimiser.zero_grad()
        module.loss(batch(), torch.ones(1)).total.sum().backward()
        optimiser.step()
    z, own = torch.randn((1, 5, 4)), remedy_training.OWN
    before = module.generate(z, torch.zeros(1, 5, 1))
    with torch.no_grad():  # what the decoder of linkers reads
        module.decoder.layers[0].weight[:, :, 2 * own :] += 1.0
    after = module.generate(z, torch.zeros(1, 5, 1))
    assert torch.equal(before.numeric.mean, after.numeric.mean)
    assert torch.equal(before.categories[0].logits, after.categories[0].logits)
    moved = [
        not torch.equal(a.query, b.query) for a, b in zip(before.sets, after.sets, strict=True)
    ]
    assert moved == [False, True, False]
    free = sum(int((p != 0).sum()) for p in module.decoder.parameters())
    one = 5 * 64 + 64 + 64 * 64 + 64 + 65 * (3 + 5 + 3 * 16)
    assert free == pytest.approx(one, rel=0.1)


def test_adjusted_sets_without_a_shift_are_those_of_the_engine():
    module = TabularModule(ARCHITECTURE, 0)
    with torch.no_grad():
        members = module.generate(torch.randn((1, 500, 4)), torch.zeros(1, 500, 1)).sets[1]
        mine = remedies.AdjustedSets(members, torch.zeros(30))
        drawn = [
            one.sample(torch.Generator().manual_seed(0), temperature=1.5) for one in (members, mine)
        ]
        assert torch.equal(drawn[0], drawn[1])
        shift = torch.where(torch.arange(30) == 7, 60.0, 0.0)
        shifted = remedies.AdjustedSets(members, shift).sample(
            torch.Generator().manual_seed(0), temperature=1.0
        )
    assert (shifted[0, :, 0] == 7).all()


def test_a_diffusion_keeps_what_is_given():
    net = remedies.Diffusion([4, 3], 5, 2, 16, 0).eval()
    codes, x = net.sample(50, {1: 0.75}, 0)
    assert (x[:, 4] == 0.75).all()
    assert x[:, 3].std() > 0.1
    assert (codes < torch.tensor([4, 3])).all()
    data = torch.zeros((6, 2), dtype=torch.int64), torch.randn(6, 5), torch.ones(6, 5)
    losses = [float(net.loss(*data, torch.Generator().manual_seed(s)).detach()) for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
