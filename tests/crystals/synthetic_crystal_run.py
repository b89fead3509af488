"""A run folder of a pretended crystal model: textbook crystals, other elements in them, noise.

Nothing is trained: the "reconstruction" is the original with its cell and atoms moved a little,
a few of them a lot, and some atom types changed.
"""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import yaml

from variolite.crystals.crystals import Crystals, cell_parameters
from variolite.crystals.elements import FAMILIES, chemical_family, reduced_formulas
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.scoring import Interval, Scorecard, ScoreKey

ALIKE = (
    (3, 11, 19, 37, 55), (4, 12, 20, 38, 56), (22, 40, 72), (23, 41, 73, 24, 42, 74), (29, 47, 79),
    (21, 39, 57, 58, 59, 60, 62, 64, 66, 68, 71), (25, 26, 27, 28, 44, 45, 46, 77, 78),
    (30, 48, 80), (13, 31, 49, 81), (9, 17, 35, 53), (16, 34, 52), (15, 33, 51, 83),
)  # fmt: skip
"""Elements that may stand for one another."""


def crystals(generator, count):
    """Return textbook crystals with elements replaced and cells stretched."""
    every = Crystals.concatenate([textbook_crystals(), textbook_crystals(conventional=True)])
    every = every.take(every.counts <= 20)
    drawn = every.take(generator.integers(0, len(every), count))
    species = drawn.species.copy()
    for atoms in (slice(*drawn.offsets[i : i + 2]) for i in range(count)):
        own = species[atoms].copy()
        for group in ALIKE:
            swap = np.arange(119)
            swap[list(group)] = generator.choice(group)
            own = np.where(np.isin(own, group), swap[own], own)
        species[atoms] = own
    stretch = generator.lognormal(0.0, 0.06, count)
    lattices = drawn.lattices * stretch[:, None, None]
    names = np.array([f"mp-{1000 + i}" for i in range(count)])
    return replace(drawn, species=species, lattices=lattices, names=names, properties={})


def rebuilt(generator, originals):
    """Return originals with noise of very different size, and a few other elements."""
    count = len(originals)
    size = generator.lognormal(np.log(0.03), 0.9, count)
    size[generator.random(count) < 0.03] *= 20
    size *= 0.5 + originals.counts / 12
    strain = np.eye(3) + size[:, None, None] * 0.25 * generator.normal(0, 0.2, (count, 3, 3))
    moves = generator.normal(size=originals.coordinates.shape) * size[originals.owner, None]
    inverse = np.linalg.inv(originals.lattices)[originals.owner]
    shift = 0.01 * generator.normal(size=(count, 3))[originals.owner]
    wrong = generator.random(len(originals.species)) < 0.01
    species = np.where(wrong, np.minimum(originals.species + 1, 94), originals.species)
    coordinates = originals.coordinates + np.einsum("ni,nij->nj", moves, inverse) + shift
    lattices = originals.lattices @ strain
    return replace(originals, species=species, coordinates=coordinates, lattices=lattices)


def periodic_errors(originals, others):
    """Return the median periodic error of every crystal in Angstrom, one at a time, [B]."""
    errors = []
    around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for one, other in zip(originals, others, strict=True):
        difference = other.coordinates - one.coordinates
        difference -= np.angle(np.exp(2j * np.pi * difference).mean(axis=0)) / (2 * np.pi)
        difference -= np.round(difference)
        images = (difference[:, None] + around) @ one.lattice
        errors.append(float(np.median(np.linalg.norm(images, axis=2).min(axis=1))))
    return np.array(errors)


def held_out(generator, originals, others):
    """Return what the page reads of the table that ``score`` writes."""
    before, after = cell_parameters(originals.lattices), cell_parameters(others.lattices)
    errors = periodic_errors(originals, others)
    volume = originals.volumes / originals.counts
    families = chemical_family(originals)
    centre = np.random.default_rng(1).normal(0, 1.6, (len(FAMILIES), 2))
    place = centre[[FAMILIES.index(name) for name in families]]
    plane = place + generator.normal(0, 0.5, (len(originals), 2)) + 0.05 * volume[:, None]
    return pl.DataFrame(
        {
            "name": originals.names.tolist(),
            "formula": reduced_formulas(originals).tolist(),
            "chemical_family": families.tolist(),
            "n_atoms": originals.counts,
            "volume_per_atom": volume,
            "periodic_error": errors,
            "matched_strict": errors < 0.12,
            "length_error_percent": 100 * np.abs(after / before - 1)[:, :3].mean(axis=1),
            "angle_error_deg": np.abs(after - before)[:, 3:].mean(axis=1),
            "volume_error_percent": 100 * np.abs(others.volumes / originals.volumes - 1),
            "pc1": plane[:, 0],
            "pc2": plane[:, 1],
        }
    )


def row(task, method, metric, mean, half, unit):
    """Return one score with an interval of about so much on both sides."""
    high = min(mean + 1.1 * half, 1.0 if unit == "share" else 1e9)
    found = Interval(mean, mean - half, high) if half else Interval(mean)
    return ScoreKey(task, method, "test", unit=unit).row(metric, found, 1742, seeds=1)


MATCHES = {
    "match_rate_cdvae_rms_unreduced": (0.973, 0.224, 0.31, 0.41),
    "match_rate_cdvae_rms_primitive": (0.968, 0.219, 0.30, 0.40),
    "match_rate_cdvae_fit_unreduced": (0.961, 0.09, 0.2, 0.3),
    "match_rate_default_rms_unreduced": (0.931, 0.031, 0.06, 0.2),
    "match_rate_strict_rms_unreduced": (0.761, 0.0, 0.004, 0.05),
}
GIVEN = {
    "vae": "", "random_coordinates": "_given_species_lattice", "fixed_template": "_given_species",
    "source": "",
}  # fmt: skip
OTHERS = {
    "rmse_cdvae_unreduced": (0.0213, "1"), "periodic_error_median": (0.0287, "angstrom"),
    "periodic_error_p95": (0.31, "angstrom"), "length_error": (1.2, "percent"),
    "angle_error": (0.61, "degree"), "volume_error": (2.4, "percent"),
    "type_accuracy": (0.991, "share"), "composition_exact": (0.951, "share"),
    "space_group_kept_symprec_0.1": (0.77, "share"), "too_close": (0.003, "share"),
    "failed": (0.0, "share"),
}  # fmt: skip
GENERATION = {
    "valid": (0.81, "share"), "valid_composition": (0.78, "share"), "unique": (0.98, "share"),
    "novel": (0.86, "share"), "density_wasserstein": (0.42, "g/cm3"), "sun": (0.031, "share"),
    "n_elements_wasserstein": (0.21, "1"),
}  # fmt: skip


def scorecard():
    """Return match rates with baselines, errors, generation, definitions."""
    rows = [
        row("reconstruction", method, f"{metric}{given}", value, half, "share")
        for metric, values in MATCHES.items()
        for (method, given), value in zip(GIVEN.items(), values, strict=True)
        for half in [0.4 * float(np.sqrt(value * (1 - value) / 40))]
    ]
    for metric, (value, unit) in OTHERS.items():
        for method, factor in (("vae", 1.0), ("source", 2.2)):
            mean, half = value * factor, 0.06 * value
            if unit == "share":
                mean, half = value - 0.1 * (factor - 1), 0.004
            rows.append(row("reconstruction", method, metric, mean, half, unit))
    for metric, (value, unit) in GENERATION.items():
        for method, factor in (("vae", 1.0), ("reference_draw", 1.1 if value < 0.9 else 1.0)):
            rows.append(row("generation", method, metric, value * factor, 0.03 * value, unit))
    notes = (
        "spglib 2.5, smact 4.0, pymatgen 2026.10",
        "match_rate_strict_rms_unreduced: Share of crystals whose reconstruction matches within a "
        "tenth of the free length per atom, lengths within 5 %, angles within 3 degrees",
        "valid: Share of the crystals asked for in which no two atoms are nearer than 0.5 Å",
    )
    return Scorecard(tuple(rows), notes)


def history(generator, epochs=40):
    """Return ``history.jsonl`` of one member."""
    lines = []
    for epoch in range(epochs):
        loss = 0.4 + 6 * np.exp(-epoch / 6) + generator.normal(0, 0.02)
        kl = 5 - 2 * np.exp(-epoch / 5) + generator.normal(0, 0.03)
        beta = min(1.0, epoch / 5) * 1e-3
        seconds = 21.0 + generator.normal(0, 0.4)
        train = {"total": loss - 0.1 + beta * kl, "reconstruction": loss - 0.1, "kl": kl}
        validation = {"monitored": loss + 1e-3 * kl, "reconstruction": loss, "kl": kl}
        parts = {"train": train, "val": validation}
        each = {f"{part}_{name}": [x] for part, own in parts.items() for name, x in own.items()}
        each |= {"epoch": epoch, "beta": beta, "seconds": seconds, "rate": [1e-3]}
        lines.append(json.dumps({**each, "active_units": [8]}) + "\n")
    return "".join(lines)


def write_synthetic_crystal_run(folder, *, seed=3, count=2000):
    """Write a whole run folder and return it."""
    generator = np.random.default_rng(seed)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    originals = crystals(generator, count)
    others = rebuilt(generator, originals)
    write_store(folder / "originals.crystals", originals)
    write_store(folder / "reconstructed.crystals", others)
    write_store(folder / "samples.crystals", rebuilt(generator, crystals(generator, count // 2)))
    held_out(generator, originals, others).write_parquet(folder / "held_out.parquet")
    recipe = {"kind": "crystals", "name": "crystals/mp_20/vae_dng", "title": "MP-20, types decoded"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    model = {"format": 1, "kind": "variolite.crystal_vae", "provenance": {"simulated": True}}
    (folder / "model" / "model.json").write_text(json.dumps(model))
    (folder / "history.jsonl").write_text(history(generator))
    scorecard().write(folder / "scorecard.json")
    formulas = sorted(set(reduced_formulas(originals).tolist()))
    split = {"train": [f"{name}x" for name in formulas], "validation": [], "test": formulas}
    (folder / "split.json").write_text(json.dumps({**split, "seed": 7}))
    environment = {
        "command": "variolite fit crystals/mp_20/vae_dng --data mp_20.crystals --out runs/first",
        "data": {"name": "mp_20.crystals", "fingerprint": "9f2c41d07ab35e18"},
        "variolite": "0.1.0", "torch": "2.13.0", "simulated": True, "seconds": 1861.4,
        "started": "2026-03-02T09:14:31+00:00",
    }  # fmt: skip
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder
