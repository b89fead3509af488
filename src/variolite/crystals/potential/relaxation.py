"""Relaxation of many crystals at once by FIRE 2.0 (Guénolé et al. 2020).

Atoms move along the forces and the cell along the stress, a strain e counting as n e
beside the positions of n atoms, as in the cell filters of ASE (Larsen et al. 2017).
Every crystal has a time step of its own and leaves the batch when it has converged,
so that the potential always sees a full batch and never a finished crystal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.potential.potential import (
    REASON,
    Floats,
    Potential,
    computed_parts,
    load_potential,
)
from variolite.errors import DataError
from variolite.training.workers import Progress

STEP, SHORTEST_STEP, LONGEST_STEP = 0.1, 2e-3, 1.0
"""Time steps of FIRE at its start and at most, in Angstrom (atomic mass unit / eV)^1/2."""

PATIENCE, FASTER, SLOWER = 20, 1.1, 0.5
MIXING, MIXING_DECAY = 0.25, 0.99

LONGEST_MOVE = 0.2  # angstrom that an atom, or strain times the number of atoms, changes in a step
PART_ATOMS = {"cpu": 256, "cuda": 8_192}
"""Atoms that are relaxed together."""


@dataclass(frozen=True)
class RelaxationLimits:
    """When to stop.

    ``force`` in eV per Angstrom: a crystal has converged when no atom feels more, nor the cell,
    whose force is the stress times the volume over the number of atoms. ``steps`` are evaluations
    of the forces at most. ``seconds`` for a crystal, as the mean over those relaxed together: what
    has not converged by then stays as far as it came; None for no limit. ``cell`` says whether the
    cell relaxes too.
    """

    force: float = 0.05
    steps: int = 300
    seconds: float | None = 60.0
    cell: bool = True

    def __post_init__(self) -> None:
        for name in ("force", "steps", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise DataError("must be above 0", where=f"relaxation limit {name}")


class Relaxation(NamedTuple):
    """B relaxed crystals in the order given, as far as they came.

    One without an energy is returned as it was. Of shape (B,): energies at the start and at the
    end, eV per atom, NaN without a value; whether forces fell below the limit; evaluations of the
    forces; how far the atoms went, see `_moved`; and why a crystal has not converged, or "".
    """

    crystals: Crystals
    energies_before: Floats
    energies: Floats
    converged: NDArray[np.bool_]
    steps: NDArray[np.int64]
    moved: Floats
    reasons: NDArray[np.str_]


def relax(
    crystals: Crystals,
    source: str | Potential = "chgnet",
    *,
    limits: RelaxationLimits = RelaxationLimits(),
    workers: int = 1,
    log: Callable[[str], None] = lambda _: None,
) -> Relaxation:
    """Relax crystals with a potential or one that is named, in worker processes if so wished.

    More than one process needs a main module that may be imported. Raises `DataError` if the
    potential cannot be loaded.
    """
    kind = getattr(getattr(load_potential(source), "device", None), "type", "cpu")
    # Crystals of one size take alike, so that a batch does not wait for its largest.
    order = np.argsort(crystals.counts, kind="stable")
    before = np.cumsum(crystals.counts[order]) - crystals.counts[order]
    cuts = np.flatnonzero(np.diff(before // PART_ATOMS.get(kind, PART_ATOMS["cpu"]))) + 1
    # Without crystals there is one empty part, whose result is the right empty one.
    parts = [crystals.take(part) for part in np.split(order, cuts)]
    work = partial(relax_together, limits=limits)
    progress = Progress("relaxing", len(crystals), log)
    found: dict[int, Relaxation] = {}
    for place, relaxation in computed_parts(work, parts, source, workers):
        found[place] = relaxation
        progress.add(len(relaxation.crystals))
    relaxed, *columns = zip(*(found[place] for place in range(len(parts))), strict=True)
    back = np.argsort(order, kind="stable")
    rest = (np.concatenate(column)[back] for column in columns)
    return Relaxation(Crystals.concatenate(relaxed).take(back), *rest)


@dataclass
class _Motion:
    """State of FIRE for the M crystals that still move, with N atoms in all.

    Velocities are of atoms, (N, 3), and of cells, (M, 3, 3); the others have shape (M,).
    """

    places: NDArray[np.int64]
    crystals: Crystals
    velocity: Floats
    cell_velocity: Floats
    step: Floats
    mixing: Floats
    downhill: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> _Motion:
        velocity = self.velocity[chosen[self.crystals.owner]]
        parts: Any = self.cell_velocity, self.step, self.mixing, self.downhill
        crystals, rest = self.crystals.take(chosen), (part[chosen] for part in parts)
        return _Motion(self.places[chosen], crystals, velocity, *rest)

    def advance(self, force: Floats, cell_force: Floats) -> None:
        """Take one step along the forces of shape (N, 3) and (M, 3, 3)."""
        crystals = self.crystals
        owner, counts = crystals.owner, crystals.counts

        def inner(a: Floats, b: Floats, cell_a: Floats, cell_b: Floats) -> Floats:
            # Atoms and cell of a crystal are one vector of 3 n + 9 numbers, (M,).
            of_atoms = np.bincount(owner, (a * b).sum(1), minlength=len(counts))
            return np.asarray(of_atoms + (cell_a * cell_b).sum((1, 2)))

        # Where the velocity points against the force the minimum lies behind: slow down there,
        # and elsewhere grow the step after a while of going downhill.
        uphill = inner(force, self.velocity, cell_force, self.cell_velocity) < 0
        self.downhill = np.where(uphill, 0, self.downhill + 1)
        late = self.downhill > PATIENCE
        faster = np.where(late, np.minimum(self.step * FASTER, LONGEST_STEP), self.step)
        self.step = np.where(uphill, np.maximum(self.step * SLOWER, SHORTEST_STEP), faster)
        decayed = np.where(late, self.mixing * MIXING_DECAY, self.mixing)
        self.mixing = np.where(uphill, MIXING, decayed)
        # Uphill: half a step back, then from rest again.
        back, still = np.where(uphill, -0.5 * self.step, 0.0), ~uphill
        dt, cell_dt = self.step[owner, None], self.step[:, None, None]
        displacement = back[owner, None] * self.velocity
        cell_displacement = back[:, None, None] * self.cell_velocity
        velocity = still[owner, None] * self.velocity + dt * force
        cell_velocity = still[:, None, None] * self.cell_velocity + cell_dt * cell_force
        # Turn the velocity a little towards the force, at the same speed.
        speed = np.sqrt(inner(velocity, velocity, cell_velocity, cell_velocity))
        pull = np.sqrt(inner(force, force, cell_force, cell_force))
        along = self.mixing * speed / np.maximum(pull, 1e-300)
        keep = 1 - self.mixing
        self.velocity = keep[owner, None] * velocity + along[owner, None] * force
        self.cell_velocity = keep[:, None, None] * cell_velocity + along[:, None, None] * cell_force
        displacement += dt * self.velocity
        cell_displacement += cell_dt * self.cell_velocity
        # Of each crystal, no atom and no cell vector may move too far at once.
        longest = np.zeros(len(counts))
        np.maximum.at(longest, owner, np.linalg.norm(displacement, axis=1))
        longest = np.maximum(longest, np.linalg.norm(cell_displacement, axis=2).max(1))
        shrink = np.minimum(1.0, LONGEST_MOVE / np.maximum(longest, 1e-300))
        # Displace atoms by Angstrom in the cell that they are in, then strain cells with their
        # atoms, whose fractional coordinates stay.
        displacement = shrink[owner, None] * displacement
        inverse = np.linalg.inv(crystals.lattices)[owner]
        strain = (shrink / counts)[:, None, None] * cell_displacement
        self.crystals = replace(
            crystals,
            coordinates=crystals.coordinates + np.einsum("ni,nij->nj", displacement, inverse),
            lattices=crystals.lattices @ (np.eye(3) + strain),
        )


def relax_together(
    potential: Potential, crystals: Crystals, limits: RelaxationLimits
) -> Relaxation:
    """Relax a batch in this process; see `relax`."""
    count = len(crystals)
    deadline = time.monotonic() + (limits.seconds or np.inf) * count
    energies = np.full((2, count), np.nan)  # at the start and at the end
    converged = np.zeros(count, dtype=bool)
    steps = np.zeros(count, dtype=np.int64)
    reasons = np.full(count, f"not converged in {limits.steps} steps", dtype=REASON)
    coordinates, lattices = crystals.coordinates.copy(), crystals.lattices.copy()
    motion = _Motion(
        np.arange(count),
        crystals,
        np.zeros_like(coordinates),
        np.zeros_like(lattices),
        np.full(count, STEP),
        np.full(count, MIXING),
        np.zeros(count, dtype=np.int64),
    )
    for number in range(limits.steps):
        if not len(motion.places):
            break
        if time.monotonic() > deadline:
            reasons[motion.places] = "not converged in the time given"
            break
        found = potential.forces(motion.crystals)
        sound = found.reasons == ""
        reasons[motion.places[~sound]] = found.reasons[~sound]
        chosen = motion.places[sound]
        of_chosen = motion.crystals.take(sound)
        # What is returned is always the last place with an energy.
        coordinates[crystals.atoms_of(chosen)] = of_chosen.coordinates
        lattices[chosen] = of_chosen.lattices
        energies[1, chosen] = found.energies[sound]
        if number == 0:
            energies[0] = energies[1]
        steps[chosen] += 1
        force, cell_force = found.forces, np.zeros_like(found.stresses)
        if limits.cell:
            # The strain counts n times beside the positions: its force is divided by n. An
            # antisymmetric part would turn the crystal and do nothing else.
            scale = motion.crystals.volumes / motion.crystals.counts
            symmetric = 0.5 * (found.stresses + found.stresses.transpose(0, 2, 1))
            cell_force = -scale[:, None, None] * symmetric
        # The largest force on an atom or a cell vector of each crystal, (M,).
        greatest = np.linalg.norm(cell_force, axis=2).max(1)
        np.maximum.at(greatest, motion.crystals.owner, np.linalg.norm(force, axis=1))
        there = sound & (greatest < limits.force)
        converged[motion.places[there]] = True
        reasons[motion.places[there]] = ""
        # Those that converged, or have no energy any more, leave the batch.
        going = sound & ~there
        atoms = going[motion.crystals.owner]
        motion = motion.only(going)
        motion.advance(force[atoms], cell_force[going])
    relaxed = replace(crystals, coordinates=coordinates, lattices=lattices)
    measured = energies[0], energies[1], converged, steps, _moved(crystals, relaxed), reasons
    return Relaxation(relaxed, *measured)


def _moved(before: Crystals, after: Crystals) -> Floats:
    """Root mean square displacement of atoms beyond that of all of them, Angstrom, shape (B,)."""
    mean_cell = 0.5 * (before.lattices + after.lattices)
    owner, counts = before.owner, before.counts
    gone = np.einsum("ni,nij->nj", after.coordinates - before.coordinates, mean_cell[owner])
    # A crystal that has moved as a whole is the same crystal: its drift (B, 3) is taken off.
    drift = np.zeros((len(counts), 3))
    np.add.at(drift, owner, gone)
    gone -= (drift / counts[:, None])[owner]
    squares = np.bincount(owner, (gone**2).sum(1), minlength=len(counts))
    return np.asarray(np.sqrt(squares / counts))
