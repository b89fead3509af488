"""CHGNet evaluated from the weights of its package (Deng et al. 2023).

Every message passes a gated perceptron over joined vectors, W [a, b, c]. Written as
W_a a + W_b b + W_c c, the products are taken once per atom and per bond instead of
once per message, which leaves a third of the arithmetic; forces need the gradient by
the bond vectors alone. The tests hold it equal to the package's own evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

from variolite.crystals.crystals import Crystals, cell_heights
from variolite.crystals.potential.potential import REASON, Forces, Potential, Prediction
from variolite.errors import DataError

# Bonds and angles of a batch of crystals under periodic boundaries, all crystals at once.
#
# A bond of atom i and the image of atom j in cell s has the vector (x_j + s - x_i) L.
# For fractional components d = x_j - x_i and plane spacings h the images within the
# cutoff r obey |d_k + s_k| <= r / h_k on every axis, so that each pair of atoms is
# tried with its own small box of images and nothing is missed, however skewed the
# cell is. All images are needed here, where `periodic` knows the nearest one.


MOST_IMAGES = 20_000_000
"""Images to try for one crystal; a flat or collapsed cell can ask for any number."""

TRIED_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Bonds:
    """Every pair of atoms within a cutoff, each counted once.

    The two atoms, int64, (E,), ordered by crystal; cell of the second relative to the first,
    (E, 3); length in Angstrom, (E,).
    """

    first: Tensor
    second: Tensor
    image: Tensor
    length: Tensor


def rejected(crystals: Crystals, cutoff: float) -> NDArray[np.str_]:
    """Return why crystals cannot be given bonds at all, empty where they can, shape (B,)."""
    reasons = np.full(len(crystals), "", dtype=REASON)
    heights = np.full((len(crystals), 3), np.nan)
    with np.errstate(all="ignore"):
        finite = np.isfinite(crystals.lattices).all(axis=(1, 2))
        sound = finite & (crystals.volumes > 1e-3)
        heights[sound] = cell_heights(crystals.lattices[sound])
        images = np.prod(2 * cutoff / heights + 2, axis=1) * crystals.counts**2 / 2
    reasons[~(images <= MOST_IMAGES)] = "the cell is too flat or too dense"
    unplaced = crystals.owner[~np.isfinite(crystals.coordinates).all(axis=1)]
    reasons[unplaced] = "a coordinate is not a number"
    reasons[~sound] = "the cell has no volume"
    reasons[crystals.counts == 0] = "there are no atoms"
    return reasons


def _enumerated(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the group and the place within it of every element of groups of given sizes."""
    group = torch.repeat_interleave(counts)
    starts = torch.cumsum(counts, 0) - counts
    return group, torch.arange(len(group), device=counts.device) - starts[group]


def find_bonds(coordinates: Tensor, lattices: Tensor, owner: Tensor, cutoff: float) -> Bonds:
    """Find all bonds up to a length.

    Parameters
    ----------
    coordinates
        Fractional, float64, shape (N, 3); any cell.
    lattices
        Rows are a, b, c in Angstrom, float64, of positive volume, shape (B, 3, 3).
    owner
        Crystal of every atom, int64, non-decreasing, shape (N,).
    cutoff
        Greatest length in Angstrom.
    """
    # P pairs of atoms of one crystal, the second not before the first: (P,) each.
    ends = torch.cumsum(torch.bincount(owner, minlength=len(lattices)), 0)
    first, later = _enumerated(ends[owner] - torch.arange(len(owner), device=owner.device))
    second = first + later
    apart = coordinates[second] - coordinates[first]
    # The box of images of every pair: its lowest corner and its sizes along the axes, (P, 3).
    reach = (cutoff * torch.linalg.inv(lattices).norm(dim=1))[owner[first]]
    lowest = torch.ceil(-reach - apart)
    sizes = (torch.floor(reach - apart) - lowest + 1).clamp_min(0).long()
    tried = sizes.prod(dim=1)
    pieces = []
    # Consecutive pairs with about `TRIED_AT_ONCE` images together, to bound the memory.
    cuts = torch.div(torch.cumsum(tried, 0), TRIED_AT_ONCE, rounding_mode="floor")
    for pairs in torch.split(
        torch.arange(len(first), device=owner.device),
        torch.unique_consecutive(cuts, return_counts=True)[1].tolist(),
    ):
        # One row for every image of every pair: place in the box, read as digits a, b, c.
        pair, place = _enumerated(tried[pairs])
        pair = pairs[pair]
        size = sizes[pair]
        rest = torch.div(place, size[:, 2], rounding_mode="floor")
        box = [torch.div(rest, size[:, 1], rounding_mode="floor"), rest % size[:, 1]]
        image = lowest[pair] + torch.stack([*box, place % size[:, 2]], dim=1)
        steps = apart[pair] + image
        cell = lattices[owner[first[pair]]]
        length = torch.linalg.vector_norm((steps.unsqueeze(1) @ cell).squeeze(1), dim=1)
        # An atom and its own image meet twice, as s and as -s: keep the half above zero.
        a, b, c = image.unbind(1)
        above = (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c > 0))))
        found = (length <= cutoff) & ((first[pair] != second[pair]) | above)
        chosen = pair[found]
        pieces.append((first[chosen], second[chosen], image[found], length[found]))
    if not pieces:
        none = owner.new_empty(0)
        return Bonds(none, none, coordinates.new_empty((0, 3)), coordinates.new_empty(0))
    return Bonds(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def bond_vectors(bonds: Bonds, coordinates: Tensor, lattices: Tensor, owner: Tensor) -> Tensor:
    """Return the vectors from the first to the second atoms in Angstrom, shape (E, 3)."""
    steps = coordinates[bonds.second] + bonds.image - coordinates[bonds.first]
    return (steps.unsqueeze(1) @ lattices[owner[bonds.first]]).squeeze(1)


def angles_between(centres: Tensor, atoms: int) -> tuple[Tensor, Tensor]:
    """List every ordered pair of different directed bonds that leave the same atom.

    From the atom that every directed bond leaves, (D,), and the number of atoms to the two
    directed bonds of each angle, int64, (A,).
    """
    # Bonds sorted by centre; each meets the others of its stretch, itself stepped over.
    order = torch.argsort(centres, stable=True)
    degree = torch.bincount(centres, minlength=atoms)
    starts = torch.cumsum(degree, 0) - degree
    sorted_centres = centres[order]
    left, place = _enumerated((degree - 1)[sorted_centres])
    right = starts[sorted_centres[left]] + place
    right = right + (right >= left)
    return order[left], order[right]


# The network. N atoms, B crystals, E bonds, of which S are short, and A angles.


LONG, SHORT = 6.0, 3.0
"""Cutoffs in Angstrom of the bonds that carry messages to atoms and of those that form angles."""

ENVELOPE = 8
"""Power of the polynomial that brings a bond smoothly to nothing at its cutoff."""

WIDTH = 64
BLOCKS = 4


class _Gated:
    """silu(norm(core(x))) * sigmoid(norm(gate(x))), x given as the products of its blocks."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str, layers: tuple[int, ...]) -> None:
        halves = [f"{prefix}.mlp_core.layers", f"{prefix}.mlp_gate.layers"]
        joined = torch.cat([state[f"{half}.{layers[0]}.weight"] for half in halves])
        self.blocks = torch.split(joined.T.contiguous(), WIDTH)
        self.bias = torch.cat([state[f"{half}.{layers[0]}.bias"] for half in halves])
        self.second = [
            (state[f"{half}.{layer}.weight"], state[f"{half}.{layer}.bias"])
            for layer in layers[1:]
            for half in halves
        ]
        self.norms = [
            (state[f"{prefix}.{norm}.weight"], state[f"{prefix}.{norm}.bias"])
            for norm in ("bn1", "bn2")
        ]

    def finish(self, hidden: Tensor) -> Tensor:
        """From the sum of all blocks and the bias, (rows, 2 * WIDTH), to (rows, WIDTH)."""
        if self.second:
            core, gate = silu(hidden).chunk(2, dim=1)
            core, gate = linear(core, *self.second[0]), linear(gate, *self.second[1])
        else:
            core, gate = hidden.chunk(2, dim=1)
        core = layer_norm(core, (WIDTH,), *self.norms[0])
        gate = layer_norm(gate, (WIDTH,), *self.norms[1])
        return silu(core) * torch.sigmoid(gate)


@dataclass(frozen=True)
class _Graph:
    """Bonds in both directions and the angles between short ones, with what damps them.

    A directed short bond k is the bond ``near[k % S]``, forwards for k < S.
    """

    centre: Tensor  # atom that a directed bond leaves, (2E,)
    far: Tensor  # atom that it reaches, (2E,)
    weight: Tensor  # of its message, (2E, 64)
    near: Tensor  # the short bonds, (S,)
    ends: Tensor  # atom that a directed short bond leaves, (2S,)
    left: Tensor  # first directed short bond of every angle, (A,)
    left_bond: Tensor  # the same without direction, (A,)
    right_bond: Tensor  # the second one without direction, (A,)
    damping: Tensor  # of the message of an angle, (A, 64)


class Network:
    """CHGNet 0.3.0 on the device of its weights, which have the names the package gives them."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self._atom = [
            _Gated(state, f"atom_conv_layers.{i}.twoBody_atom", (0, 3)) for i in range(BLOCKS)
        ]
        self._bond = [
            _Gated(state, f"bond_conv_layers.{i}.twoBody_bond", (0, 3)) for i in range(BLOCKS - 1)
        ]
        # Nobody reads the angles after the last of their updates, so that one is left out.
        self._angle = [
            _Gated(state, f"angle_layers.{i}.twoBody_bond", (1,)) for i in range(BLOCKS - 2)
        ]

    def __call__(
        self, species: Tensor, owner: Tensor, crystals: int, bonds: Bonds, vector: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate a batch of B crystals with N atoms.

        Parameters
        ----------
        species, owner
            Atomic number and crystal of every atom, int64, shape (N,).
        crystals
            B.
        bonds
            All E bonds up to `LONG`.
        vector
            From the first to the second atom of every bond in Angstrom, float32, (E, 3).

        Returns
        -------
        Tensor, Tensor
            Total energies in eV, (B,), and the atoms before the last message, (N, 64).
        """
        state = self._state
        graph, bond, angle = self._start(bonds, vector, len(species))
        atoms = state["atom_embedding.embedding.weight"][species - 1]
        for i in range(BLOCKS - 1):
            atoms = self._to_atoms(i, atoms, bond, graph)
            if not len(graph.left):
                continue
            message = self._at_angles(self._bond[i], atoms, bond, angle, graph) * graph.damping
            gathered = message.new_zeros((len(graph.near), WIDTH))
            gathered = gathered.index_add(0, graph.left_bond, message)
            gain = linear(gathered, state[f"bond_conv_layers.{i}.mlp_out.layers.1.weight"])
            bond = bond.index_add(0, graph.near, gain)
            if i < len(self._angle):
                angle = angle + self._at_angles(self._angle[i], atoms, bond, angle, graph)
        hidden = self._to_atoms(BLOCKS - 1, atoms, bond, graph)
        norm = state["readout_norm.weight"], state["readout_norm.bias"]
        hidden = layer_norm(hidden, (WIDTH,), *norm)
        for layer in (0, 2, 4):
            hidden = silu(linear(hidden, *self._weights(f"mlp.layers.{layer}")))
        reference = state["composition_model.fc.weight"][0, species - 1]
        of_atom = linear(hidden, *self._weights("mlp.layers.7")).squeeze(1) + reference
        return of_atom.new_zeros(crystals).index_add(0, owner, of_atom), atoms

    def _weights(self, layer: str) -> tuple[Tensor, Tensor]:
        return self._state[f"{layer}.weight"], self._state[f"{layer}.bias"]

    def _start(self, bonds: Bonds, vector: Tensor, atoms: int) -> tuple[_Graph, Tensor, Tensor]:
        """Lay out the graph, with the first vectors of its bonds and angles."""
        state = self._state
        length = torch.linalg.vector_norm(vector, dim=1)
        basis = "bond_basis_expansion.rbf_expansion"
        radial = _bessel(length, state[f"{basis}_ag.frequencies"], LONG)
        near = torch.nonzero(bonds.length < SHORT).squeeze(1)
        short_radial = _bessel(length[near], state[f"{basis}_bg.frequencies"], SHORT)
        short_weight = linear(short_radial, state["bond_weights_bg.weight"])
        ends = torch.cat([bonds.first[near], bonds.second[near]])
        left, right = angles_between(ends, atoms)
        unit = vector[near] / length[near].unsqueeze(1)
        leaving = torch.cat([unit, -unit])
        frequencies = state["angle_basis_expansion.fourier_expansion.frequencies"]
        fourier = _fourier(leaving[left], leaving[right], frequencies)
        count = max(len(near), 1)
        graph = _Graph(
            centre=torch.cat([bonds.first, bonds.second]),
            far=torch.cat([bonds.second, bonds.first]),
            weight=linear(radial, state["bond_weights_ag.weight"]).repeat(2, 1),
            near=near,
            ends=ends,
            left=left,
            left_bond=left % count,
            right_bond=right % count,
            damping=short_weight[left % count] * short_weight[right % count],
        )
        bond = linear(radial, state["bond_embedding.weight"])
        return graph, bond, linear(fourier, state["angle_embedding.weight"])

    def _to_atoms(self, i: int, atoms: Tensor, bond: Tensor, graph: _Graph) -> Tensor:
        """Add to every atom what its bonds bring; the joined vector is centre, bond, far atom."""
        gated = self._atom[i]
        hidden = (atoms @ gated.blocks[0])[graph.centre] + (atoms @ gated.blocks[2])[graph.far]
        of_bond = torch.addmm(gated.bias, bond, gated.blocks[1])
        message = gated.finish(hidden + of_bond.repeat(2, 1)) * graph.weight
        gathered = torch.zeros_like(atoms).index_add(0, graph.centre, message)
        weight = self._state[f"atom_conv_layers.{i}.mlp_out.layers.1.weight"]
        return atoms + linear(gathered, weight)

    @staticmethod
    def _at_angles(
        gated: _Gated, atoms: Tensor, bond: Tensor, angle: Tensor, graph: _Graph
    ) -> Tensor:
        """Messages at angles; the joined vector is left bond, right bond, angle, centre."""
        short = bond[graph.near]
        of_centre = torch.addmm(gated.bias, atoms, gated.blocks[3])[graph.ends]
        leaving = (short @ gated.blocks[0]).repeat(2, 1) + of_centre
        hidden = leaving[graph.left] + (short @ gated.blocks[1])[graph.right_bond]
        return gated.finish(torch.addmm(hidden, angle, gated.blocks[2]))


def _bessel(length: Tensor, frequencies: Tensor, cutoff: float) -> Tensor:
    """Sines of the distance over the distance, brought to zero at the cutoff; (rows, K)."""
    scaled = (length / cutoff).unsqueeze(1)
    p = ENVELOPE
    envelope = (
        1
        - (p + 1) * (p + 2) / 2 * scaled**p
        + p * (p + 2) * scaled ** (p + 1)
        - p * (p + 1) / 2 * scaled ** (p + 2)
    )
    envelope = torch.where(scaled < 1, envelope, 0.0)
    return math.sqrt(2 / cutoff) * envelope * torch.sin(frequencies * scaled) / length.unsqueeze(1)


def _fourier(left: Tensor, right: Tensor, frequencies: Tensor) -> Tensor:
    """Constant, sines and cosines of the angle between unit vectors, shape (rows, 1 + 2K)."""
    # A straight angle would make the derivative of the arc cosine infinite.
    angle = torch.acos((left * right).sum(1) * (1 - 1e-6)).unsqueeze(1) * frequencies
    constant = angle.new_full((len(angle), 1), 1 / math.sqrt(2))
    return torch.cat([constant, torch.sin(angle), torch.cos(angle)], dim=1) / math.sqrt(math.pi)


# CHGNet as a potential: the weights come with its wheel, nothing is downloaded.


UNSEEN = (84, 85, 86, 87, 88)
"""Elements up to 94 of which CHGNet saw no structure: Po, At, Rn, Fr and Ra."""

HEAVIEST = 94

NEAREST = 0.2
"""Angstrom; two atoms nearer than this are one atom twice."""

CROWDED = 60
"""Neighbours within `SHORT` that no crystal has; diamond has 28. Angles grow with their square."""

ATOMS_AT_ONCE = {"cpu": 48, "cuda": 16_384}
"""On a CPU larger batches fall out of the cache and take longer per atom."""

ANGLES_AT_ONCE = {"cpu": 200_000, "cuda": 4_000_000}
"""Bounds the memory of a batch: an angle takes about 4 kB with its gradients."""

NO_NUMBER = "the potential gave no number"
"""Reason of a crystal whose energy is not finite."""


@dataclass(frozen=True)
class _Batch:
    """Crystals evaluated together, by their places in the whole set, (B,)."""

    places: NDArray[np.int64]
    crystals: Crystals
    species: Tensor
    owner: Tensor
    bonds: Bonds
    vector: Tensor


class ChgnetPotential(Potential):
    """CHGNet 0.3.0 (Deng et al. 2023), trained on relaxations of the Materials Project.

    Its energies contain the corrections of the Materials Project. They differ from those of
    other potentials by some .06 eV per atom and must not be mixed with them.

    Parameters
    ----------
    device
        Where to run.

    Raises
    ------
    DataError
        If the package chgnet is not installed or has no such weights, or cannot run there.
    """

    name = "chgnet"
    version = "0.3.0"
    width = WIDTH

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        if self.device.type not in ATOMS_AT_ONCE:
            raise DataError(
                f"CHGNet does not run on the device {self.device.type}",
                hint=f"Choose from {', '.join(ATOMS_AT_ONCE)}",
            )
        self._network = Network(_weights(self.version, self.device))

    def predict(self, crystals: Crystals) -> Prediction:
        """Return energies and the features before the last message; see `Potential`."""
        energies = np.full(len(crystals), np.nan)
        features = np.full((len(crystals.species), self.width), np.nan, dtype=np.float32)
        reasons = _rejected(crystals)
        with _one_thread(), torch.no_grad():
            for batch in self._batches(crystals, reasons):
                energy, atoms = self._evaluate(batch)
                energies[batch.places] = energy.cpu().numpy() / batch.crystals.counts
                features[crystals.atoms_of(batch.places)] = atoms.cpu().numpy()
        reasons[~np.isfinite(energies) & (reasons == "")] = NO_NUMBER
        return Prediction(energies, features, reasons)

    def forces(self, crystals: Crystals) -> Forces:
        """Return energies, forces and stresses; see `Potential`."""
        energies = np.full(len(crystals), np.nan)
        forces = np.full((len(crystals.species), 3), np.nan)
        stresses = np.full((len(crystals), 3, 3), np.nan)
        reasons = _rejected(crystals)
        with _one_thread():
            for batch in self._batches(crystals, reasons):
                energy, force, virial = (values.cpu().numpy() for values in self._derived(batch))
                energies[batch.places] = energy / batch.crystals.counts
                forces[crystals.atoms_of(batch.places)] = force
                stresses[batch.places] = virial / batch.crystals.volumes[:, None, None]
        reasons[~np.isfinite(energies) & (reasons == "")] = NO_NUMBER
        return Forces(energies, forces, stresses, reasons)

    def _derived(self, batch: _Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Total energies (B,), forces (N, 3) and derivatives by strain (B, 3, 3)."""
        first, second = batch.bonds.first, batch.bonds.second
        vector = batch.vector.requires_grad_(True)
        energies, _ = self._evaluate(batch)
        (pull,) = torch.autograd.grad(energies.sum(), vector)
        pull, vector = pull.double(), vector.detach().double()
        # The energy knows the atoms through the bonds alone, hence dE/dx of either end.
        force = pull.new_zeros((len(batch.species), 3))
        force.index_add_(0, first, pull).index_add_(0, second, -pull)
        # A strain e takes the bond v to v (1 + e), hence dE/de = sum of v^T dE/dv.
        virial = pull.new_zeros((len(batch.places), 3, 3))
        virial.index_add_(0, batch.owner[first], vector.unsqueeze(2) * pull.unsqueeze(1))
        return energies.detach(), force, virial

    def _evaluate(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        return self._network(
            batch.species, batch.owner, len(batch.places), batch.bonds, batch.vector
        )

    def _batches(self, crystals: Crystals, reasons: NDArray[np.str_]) -> Iterator[_Batch]:
        """Cut the set into batches; writes the reasons of crystals that it leaves out."""
        fit = np.flatnonzero(reasons == "")
        before = np.cumsum(crystals.counts[fit]) - crystals.counts[fit]
        number = before // ATOMS_AT_ONCE[self.device.type]
        for places in np.split(fit, np.flatnonzero(np.diff(number)) + 1):
            if len(places):
                yield from self._connected(crystals, places, reasons)

    def _connected(
        self, crystals: Crystals, places: NDArray[np.int64], reasons: NDArray[np.str_]
    ) -> Iterator[_Batch]:
        """Find the bonds; crystals that cannot be treated leave, large batches are halved."""
        chosen = crystals.take(places)
        owner, coordinates, lattices, species = (
            torch.from_numpy(array).to(self.device)
            for array in (
                chosen.owner,
                chosen.coordinates,
                chosen.lattices,
                chosen.species.astype(np.int64),
            )
        )
        bonds = find_bonds(coordinates, lattices, owner, LONG)
        angles, found = _count_angles(bonds, owner, len(chosen))
        if (found != "").any():
            reasons[places] = found
            if (found == "").any():
                yield from self._connected(crystals, places[found == ""], reasons)
        elif angles > ANGLES_AT_ONCE[self.device.type] and len(places) > 1:
            for half in np.array_split(places, 2):
                yield from self._connected(crystals, half, reasons)
        else:
            vector = bond_vectors(bonds, coordinates, lattices, owner).float()
            yield _Batch(places, chosen, species, owner, bonds, vector)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Batches are too small to share out: threads would spend their time waiting."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weights(version: str, device: torch.device) -> dict[str, Tensor]:
    """Read the weights in the package's folder, without importing it and without unpickling."""
    found = find_spec("chgnet")
    if found is None or not found.submodule_search_locations:
        raise DataError("chgnet is not installed", hint="pip install 'variolite[crystals]'")
    folder = Path(found.submodule_search_locations[0]) / "pretrained" / version
    files = sorted(folder.glob("*.pth.tar"))
    if not files:
        raise DataError(
            f"the installed chgnet has no weights of version {version}",
            where=str(folder),
            hint="pip install 'chgnet>=0.4.2'",
        )
    content = torch.load(files[0], map_location=device, weights_only=True)
    state: dict[str, Tensor] = content["model"]["state_dict"]
    return state


def _rejected(crystals: Crystals) -> NDArray[np.str_]:
    """Reject what has no bonds or holds an element the network never saw, shape (B,)."""
    reasons = rejected(crystals, LONG)
    strange = (crystals.species < 1) | (crystals.species > HEAVIEST)
    strange |= np.isin(crystals.species, UNSEEN)
    reasons[crystals.owner[strange]] = "an element CHGNet does not know"
    return reasons


def _count_angles(bonds: Bonds, owner: Tensor, crystals: int) -> tuple[int, NDArray[np.str_]]:
    """Count the angles of a batch, and give the reasons of crystals the network cannot treat."""
    near = bonds.length < SHORT
    degree, short_degree = (
        torch.bincount(torch.cat([bonds.first[some], bonds.second[some]]), minlength=len(owner))
        for some in (slice(None), near)
    )
    reasons = np.full(crystals, "", dtype=REASON)
    for faulty, reason in (
        (owner[degree == 0], f"an atom has no neighbour within {LONG:g} Angstrom"),
        (owner[short_degree > CROWDED], f"over {CROWDED} atoms within {SHORT:g} Angstrom of one"),
        (owner[bonds.first[bonds.length < NEAREST]], "two atoms in one place"),
    ):
        reasons[faulty.cpu().numpy()] = reason
    return int((short_degree * (short_degree - 1)).sum()), reasons
