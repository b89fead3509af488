"""Building units with the shapes of real ones, made by hand."""

from __future__ import annotations

import numpy as np

from variolite.frameworks.assembly.unit_library import Unit

_OCTAHEDRON = np.array([*np.eye(3), *-np.eye(3)])


def _acid(direction: np.ndarray, from_centre: float) -> list[tuple]:
    """A carboxylate whose carbon lies along a direction, and the end of its arm."""
    side = np.roll(direction, 1)
    carbon = direction * from_centre
    oxygens = [carbon - 0.55 * direction + sign * 1.12 * side for sign in (1, -1)]
    return [
        ("C", *carbon),
        *(("O", *oxygen) for oxygen in oxygens),
        ("X", *(carbon + 0.75 * direction)),
    ]


def zinc_oxide_node() -> Unit:
    """The node of MOF-5, Zn4O(CO2)6 with six arms along the axes."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.12
    sites = [("O", 0.0, 0.0, 0.0), *(("Zn", *corner) for corner in corners)]
    for direction in _OCTAHEDRON:
        sites += _acid(direction, 3.35)
    return Unit.of("node_C6O13Zn4_6X", sites, source="MOFFIV")


def pillared_paddlewheel() -> Unit:
    """Zn2(CO2)4 with four arms at carbon and two at zinc, along z."""
    sites = [("Zn", 0.0, 0.0, sign * 1.45) for sign in (1, -1)]
    for direction in np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]):
        carbon = direction * 2.6
        sites += [("C", *carbon), ("X", *(carbon + 0.75 * direction))]
        sites += [("O", *(direction * 2.0 + [0, 0, sign * 1.12])) for sign in (1, -1)]
    sites += [("X", 0.0, 0.0, sign * 2.48) for sign in (1, -1)]
    return Unit.of("node_C4O8Zn2_6X", sites, source="DMOF")


def phenylene(name: str = "linker_C6H4_2X", length: float = 2.8) -> Unit:
    """1,4-phenylene along x with its ring in the plane z = 0."""
    angles = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(6)], axis=1)
    sites = [("C", *(1.39 * point)) for point in ring]
    sites += [("H", *(2.48 * point)) for point in ring[[1, 2, 4, 5]]]
    sites += [("X", sign * (length / 2 + 0.74), 0.0, 0.0) for sign in (1, -1)]
    return Unit.of(name, sites, source="MOFFIV")


def pyrazine() -> Unit:
    """A pillar, bonded at its two nitrogen atoms."""
    angles = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(6)], axis=1)
    sites = [("N" if place in (0, 3) else "C", *(1.36 * p)) for place, p in enumerate(ring)]
    sites += [("H", *(2.44 * point)) for point in ring[[1, 2, 4, 5]]]
    sites += [("X", sign * 2.4, 0.0, 0.0) for sign in (1, -1)]
    return Unit.of("linker_C4H4N2_2X", sites, source="DMOF")
