"""Baselines of generation without any learning: known crystals whose elements are exchanged.

After N. Szymanski and C. Bartel, "Establishing baselines for generative discovery of inorganic
crystals" (2025): what a generator has to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import HEAVIEST, SYMBOLS, compositions
from variolite.crystals.evaluation.validity import charge_balance
from variolite.crystals.files.formats import import_extra

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TRIES = 200  # known crystals drawn for each one wanted, at most
SMALLEST = 1.0  # least volume of an atom, cubic Angstrom

NOTES: Mapping[str, str] = {
    "ion_exchange": "known crystals with one ion or more exchanged for another of the same charge, "
    "by the substitution probabilities of pymatgen (G. Hautier et al., Inorg. Chem. 50 (2011) 656)",
    "random_decoration": "known crystals on whose sites other elements were put at random, each as "
    "often as it occurs in known crystals, where the charges balance (SMACT)",
}
"""What the baselines are, by method."""


def substituted(
    known: Crystals, number: int, *, seed: int = 0, log: Callable[[str], None] = lambda _: None
) -> dict[str, Crystals]:
    """Make ``number`` crystals by each method of `NOTES` from valid known ones; fewer if it cannot.

    Cells keep their shape; volumes are scaled by volumes of the elements that are fitted to the
    known crystals.
    """
    volumes = _element_volumes(known)
    makers = {"ion_exchange": _ion_exchange, "random_decoration": _decorations}
    found = {}
    for name, maker in makers.items():
        log(f"baseline {name}")
        random = np.random.default_rng((seed, 8))
        made: list[Crystal] = []
        for place, exchange in maker(known, number, random):
            crystal = known[place]
            species = exchange[crystal.species]
            ratio = volumes[species].sum() / volumes[crystal.species].sum()
            lattice = crystal.lattice * np.cbrt(ratio)
            name_of = f"{name}-{len(made)}"
            made.append(Crystal(species.astype(np.uint8), crystal.coordinates, lattice, name_of))
            if len(made) == number:
                break
        found[name] = Crystals.of(made)
    return found


def _element_volumes(crystals: Crystals) -> Floats:
    """Fit volumes of the elements in cubic Angstrom, (119,), to those of crystals."""
    from scipy.optimize import nnls

    counts = compositions(crystals).astype(np.float64)
    present = np.flatnonzero(counts.any(axis=0))
    # Relative errors: large cells shall not weigh more.
    found, _ = nnls(counts[:, present] / crystals.volumes[:, None], np.ones(len(crystals)))
    volumes = np.full(HEAVIEST + 1, float(np.median(crystals.volumes / crystals.counts)))
    volumes[present] = np.maximum(found, SMALLEST)
    return volumes


def _ion_exchange(
    known: Crystals, number: int, random: np.random.Generator
) -> Iterator[tuple[int, Integers]]:
    """Yield places of known crystals and new atomic numbers by old ones, (119,)."""
    module = import_extra("pymatgen.analysis.structure_prediction.substitution_probability")
    composition = import_extra("pymatgen.core").Composition
    table = module.SubstitutionProbability()
    elements = np.unique(known.species)
    # Sorted, because the order of a set changes from run to run.
    ions = sorted((s for s in table.species if s.Z in elements), key=str)
    place_of = {(ion.Z, ion.oxi_state): place for place, ion in enumerate(ions)}
    weights = np.array(
        [
            [np.exp(table.get_lambda(a, b)) * (a.oxi_state == b.oxi_state) for b in ions]
            for a in ions
        ]
    )
    counts = compositions(known, reduced=True)
    charges: dict[bytes, list[tuple[int, int]] | None] = {}
    for place in random.integers(len(known), size=number * TRIES).tolist():
        key = counts[place].tobytes()
        if key not in charges:
            present = np.flatnonzero(counts[place]).tolist()
            formula = composition({SYMBOLS[z]: int(counts[place][z]) for z in present})
            guesses = formula.oxi_state_guesses() if len(present) > 1 else ()
            states = [(z, guesses[0][SYMBOLS[z]]) for z in present] if guesses else []
            ours = [(z, place_of[z, state]) for z, state in states if (z, state) in place_of]
            charges[key] = ours if ours and len(ours) == len(present) else None
        if (ours_known := charges[key]) is None:
            continue
        exchange = np.arange(HEAVIEST + 1)
        for z, ion in ours_known:
            chances = weights[ion] / weights[ion].sum()
            exchange[z] = ions[int(random.choice(len(ions), p=chances))].Z
        old = [z for z, _ in ours_known]
        if len({*exchange[old].tolist()}) == len(old) and (exchange[old] != old).any():
            yield place, exchange


def _decorations(
    known: Crystals, number: int, random: np.random.Generator
) -> Iterator[tuple[int, Integers]]:
    """Yield places of known crystals and new atomic numbers by old ones, (119,)."""
    counts = compositions(known, reduced=True)
    chances = (counts > 0).mean(axis=0)
    chances = chances / chances.sum()
    for _ in range(TRIES):
        places = random.integers(len(known), size=number)
        exchanges = np.tile(np.arange(HEAVIEST + 1), (number, 1))
        for place, exchange in zip(places, exchanges, strict=True):
            old = np.flatnonzero(counts[place])
            exchange[old] = random.choice(len(chances), len(old), replace=False, p=chances)
        made = known.take(places)
        species = exchanges[made.owner, made.species].astype(np.uint8)
        balanced = charge_balance(replace(made, species=species)).balanced
        for place, exchange in zip(places[balanced].tolist(), exchanges[balanced], strict=True):
            yield place, exchange
