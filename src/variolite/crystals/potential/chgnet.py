"""CHGNet evaluated from the weights of its package (Deng et al. 2023).

Every message passes a gated perceptron over joined vectors, W [a, b, c]. Written as W_a a + W_b b
+ W_c c, the products are taken once per atom and per bond instead of once per message, which leaves
a third of the arithmetic; forces need the gradient by the bond vectors alone. The tests hold it
equal to the package's own evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

from variolite.crystals.crystals import Crystals, cell_heights
from variolite.crystals.potential.potential import REASON, Forces, Prediction
from variolite.errors import DataError
from variolite.training.device import single_thread

LONG, SHORT = 6.0, 3.0
"""Cutoffs in Angstrom of the bonds that carry messages to atoms and of those that form angles."""

ENVELOPE = 8  # power of the polynomial that brings a bond smoothly to nothing at its cutoff
WIDTH = 64
BLOCKS = 4

KNOWN = (*range(1, 84), *range(89, 95))
"""Elements of which CHGNet saw structures: up to Pu, without Po, At, Rn, Fr and Ra."""

NEAREST = 0.2  # angstrom; two atoms nearer than this are one atom twice
CROWDED = 60  # neighbours within `SHORT` that no crystal has, diamond 28; angles grow as the square
MOST_IMAGES = 20_000_000  # tried for one crystal; a flat or collapsed cell can ask for any number
TRIED_AT_ONCE = 1_000_000

ATOMS_AT_ONCE = {"cpu": 48, "cuda": 16_384}
"""On a CPU larger batches fall out of the cache and take longer per atom."""

ANGLES_AT_ONCE = {"cpu": 200_000, "cuda": 4_000_000}
"""Bounds the memory of a batch: an angle takes about 4 kB with its gradients."""

NO_NUMBER = "the potential gave no number"
"""Reason of a crystal whose energy is not finite."""

# Bonds and angles of a batch of crystals under periodic boundaries, all crystals at once.
#
# A bond of atom i and the image of atom j in cell s has the vector (x_j + s - x_i) L. For
# fractional components d = x_j - x_i and plane spacings h the images within the cutoff r obey
# |d_k + s_k| <= r / h_k on every axis, so that each pair of atoms is tried with its own small box
# and nothing is missed, however skewed the cell is. All images are needed here, where `periodic`
# knows the nearest one.


class Bonds(NamedTuple):
    """Every pair of atoms within a cutoff, each counted once.

    The two atoms, int64, (E,), ordered by crystal; cell of the second relative to the first,
    (E, 3); length in Angstrom, (E,).
    """

    first: Tensor
    second: Tensor
    image: Tensor
    length: Tensor


def rejected(crystals: Crystals) -> NDArray[np.str_]:
    """Return why crystals have no bonds or no known elements, empty where they do, shape (B,)."""
    reasons = np.full(len(crystals), "", dtype=REASON)
    heights = np.full((len(crystals), 3), np.nan)
    with np.errstate(all="ignore"):
        finite = np.isfinite(crystals.lattices).all(axis=(1, 2))
        sound = finite & (crystals.volumes > 1e-3)
        heights[sound] = cell_heights(crystals.lattices[sound])
        images = np.prod(2 * LONG / heights + 2, axis=1) * crystals.counts**2 / 2
    # What comes later weighs more and is written over the rest.
    reasons[~(images <= MOST_IMAGES)] = "the cell is too flat or too dense"
    unplaced = crystals.owner[~np.isfinite(crystals.coordinates).all(axis=1)]
    reasons[unplaced] = "a coordinate is not a number"
    reasons[~sound] = "the cell has no volume"
    reasons[crystals.counts == 0] = "there are no atoms"
    reasons[~crystals.made_of(KNOWN)] = "an element CHGNet does not know"
    return reasons


def _enumerated(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the group and the place within it of every element of groups of given sizes."""
    group = torch.repeat_interleave(counts)
    starts = torch.cumsum(counts, 0) - counts
    return group, torch.arange(len(group), device=counts.device) - starts[group]


def find_bonds(coordinates: Tensor, lattices: Tensor, owner: Tensor, cutoff: float) -> Bonds:
    """Find all bonds up to a length in Angstrom.

    From fractional coordinates in any cell, (N, 3), cells of positive volume whose rows are a, b
    and c, (B, 3, 3), both float64, and the crystal of every atom, non-decreasing, (N,).
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
    none = owner.new_empty(0)
    pieces = [(none, none, coordinates.new_empty((0, 3)), coordinates.new_empty(0))]
    # Consecutive pairs with about `TRIED_AT_ONCE` images together, to bound the memory.
    cuts = torch.unique_consecutive(torch.cumsum(tried, 0) // TRIED_AT_ONCE, return_counts=True)[1]
    for pairs in torch.split(torch.arange(len(first), device=owner.device), cuts.tolist()):
        # One row for every image of every pair: place in the box, read as digits a, b, c.
        pair, place = _enumerated(tried[pairs])
        pair = pairs[pair]
        size = sizes[pair]
        rest = place // size[:, 2]
        box = rest // size[:, 1], rest % size[:, 1], place % size[:, 2]
        image = lowest[pair] + torch.stack(box, dim=1)
        # Row vectors: fractional steps (R, 1, 3) times the cell (R, 3, 3) of each pair.
        steps = (apart[pair] + image).unsqueeze(1)
        length = torch.linalg.vector_norm((steps @ lattices[owner[first[pair]]]).squeeze(1), dim=1)
        # An atom and its own image meet twice, as s and as -s: keep the half above zero.
        a, b, c = image.unbind(1)
        above = (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c > 0))))
        found = (length <= cutoff) & ((first[pair] != second[pair]) | above)
        chosen = pair[found]
        pieces.append((first[chosen], second[chosen], image[found], length[found]))
    return Bonds(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


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


def _layer(state: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]


class _Gated:
    """silu(norm(core(x))) * sigmoid(norm(gate(x))), x given as the products of its blocks."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str, layers: tuple[int, ...]) -> None:
        halves = [f"{prefix}.mlp_core.layers", f"{prefix}.mlp_gate.layers"]
        # Core and gate see the same vector: their first layers are one product, (rows, 2 WIDTH),
        # cut into blocks (WIDTH, 2 WIDTH) for each of the vectors that the package joins.
        joined = torch.cat([state[f"{half}.{layers[0]}.weight"] for half in halves])
        self.blocks = torch.split(joined.T.contiguous(), WIDTH)
        self.bias = torch.cat([state[f"{half}.{layers[0]}.bias"] for half in halves])
        self.second = [_layer(state, f"{half}.{i}") for i in layers[1:] for half in halves]
        self.norms = [_layer(state, f"{prefix}.{norm}") for norm in ("bn1", "bn2")]

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


class _Graph(NamedTuple):
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


class _Batch(NamedTuple):
    """Crystals evaluated together, by their places in the whole set, (B,).

    Atomic number and crystal of every atom, int64, (N,); all bonds up to `LONG`, and the vectors
    from their first to their second atoms in Angstrom, float32, (E, 3).
    """

    places: NDArray[np.int64]
    crystals: Crystals
    species: Tensor
    owner: Tensor
    bonds: Bonds
    vector: Tensor


class Network:
    """CHGNet 0.3.0 on the device of its weights, which have the names the package gives them."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        def gated(kind: str, end: str, number: int, layers: tuple[int, ...]) -> list[_Gated]:
            return [_Gated(state, f"{kind}_layers.{i}.{end}", layers) for i in range(number)]

        self._state = state
        self._atom = gated("atom_conv", "twoBody_atom", BLOCKS, (0, 3))
        self._bond = gated("bond_conv", "twoBody_bond", BLOCKS - 1, (0, 3))
        # Nobody reads the angles after the last of their updates, so that one is left out.
        self._angle = gated("angle", "twoBody_bond", BLOCKS - 2, (1,))

    def __call__(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """Return total energies in eV, (B,), and the atoms before the last message, (N, 64)."""
        state, species = self._state, batch.species
        graph, bond, angle = self._start(batch.bonds, batch.vector, len(species))
        atoms = state["atom_embedding.embedding.weight"][species - 1]
        for i in range(BLOCKS - 1):
            # Bonds to atoms, then angles to short bonds, then atoms and bonds to angles.
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
        hidden = layer_norm(hidden, (WIDTH,), *_layer(state, "readout_norm"))
        for layer in (0, 2, 4):
            hidden = silu(linear(hidden, *_layer(state, f"mlp.layers.{layer}")))
        # Energies count from a linear fit to the composition, one number for each element.
        reference = state["composition_model.fc.weight"][0, species - 1]
        of_atom = linear(hidden, *_layer(state, "mlp.layers.7")).squeeze(1) + reference
        return of_atom.new_zeros(len(batch.places)).index_add(0, batch.owner, of_atom), atoms

    def _start(self, bonds: Bonds, vector: Tensor, atoms: int) -> tuple[_Graph, Tensor, Tensor]:
        """Lay out the graph, with the first vectors of its bonds (E, 64) and angles (A, 64)."""
        state = self._state
        length = torch.linalg.vector_norm(vector, dim=1)
        basis = "bond_basis_expansion.rbf_expansion"
        radial = _bessel(length, state[f"{basis}_ag.frequencies"], LONG)
        near = torch.nonzero(bonds.length < SHORT).squeeze(1)
        short_radial = _bessel(length[near], state[f"{basis}_bg.frequencies"], SHORT)
        short_weight = linear(short_radial, state["bond_weights_bg.weight"])
        ends = torch.cat([bonds.first[near], bonds.second[near]])
        left, right = angles_between(ends, atoms)
        # Seen from its second atom a bond points the other way.
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
        # Products (N, 128) and (E, 128) are gathered to the directed bonds, not taken there.
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
    # The polynomial of Gasteiger et al. (2020): value and two derivatives vanish at the cutoff.
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


class ChgnetPotential:
    """CHGNet 0.3.0 (Deng et al. 2023), trained on relaxations of the Materials Project.

    Its energies contain the corrections of the Materials Project. They differ from those of
    other potentials by some .06 eV per atom and must not be mixed with them. Raises `DataError` if
    the package chgnet is not installed or has no such weights, or cannot run on the device.
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
        reasons = rejected(crystals)
        # Batches are too small to share out: threads would spend their time waiting.
        with single_thread(0), torch.no_grad():
            for batch in self._batches(crystals, reasons):
                energy, atoms = self._network(batch)
                energies[batch.places] = energy.cpu().numpy() / batch.crystals.counts
                features[crystals.atoms_of(batch.places)] = atoms.cpu().numpy()
        reasons[~np.isfinite(energies) & (reasons == "")] = NO_NUMBER
        return Prediction(energies, features, reasons)

    def forces(self, crystals: Crystals) -> Forces:
        """Return energies, forces and stresses; see `Potential`."""
        energies = np.full(len(crystals), np.nan)
        forces = np.full((len(crystals.species), 3), np.nan)
        stresses = np.full((len(crystals), 3, 3), np.nan)
        reasons = rejected(crystals)
        with single_thread(0):
            for batch in self._batches(crystals, reasons):
                first, second = batch.bonds.first, batch.bonds.second
                vector = batch.vector.requires_grad_(True)
                energy, _ = self._network(batch)
                (pull,) = torch.autograd.grad(energy.sum(), vector)
                # Summed in double precision: in a symmetric crystal large pulls cancel.
                pull, vector = pull.double(), vector.detach().double()
                # The energy knows the atoms through the bonds alone, hence dE/dx of either end.
                force = pull.new_zeros((len(batch.species), 3))
                force.index_add_(0, first, pull).index_add_(0, second, -pull)
                # A strain e takes the bond v to v (1 + e), hence dE/de = sum of v^T dE/dv.
                virial = pull.new_zeros((len(batch.places), 3, 3))
                virial.index_add_(0, batch.owner[first], vector.unsqueeze(2) * pull.unsqueeze(1))
                energies[batch.places] = energy.detach().cpu().numpy() / batch.crystals.counts
                forces[crystals.atoms_of(batch.places)] = force.cpu().numpy()
                volumes = batch.crystals.volumes[:, None, None]
                stresses[batch.places] = virial.cpu().numpy() / volumes
        reasons[~np.isfinite(energies) & (reasons == "")] = NO_NUMBER
        return Forces(energies, forces, stresses, reasons)

    def _batches(self, crystals: Crystals, reasons: NDArray[np.str_]) -> Iterator[_Batch]:
        """Cut the set into batches; writes the reasons of crystals that it leaves out."""
        kind = self.device.type
        fit = np.flatnonzero(reasons == "")
        number = (np.cumsum(crystals.counts[fit]) - crystals.counts[fit]) // ATOMS_AT_ONCE[kind]
        waiting = np.split(fit, np.flatnonzero(np.diff(number)) + 1)[::-1]
        while waiting:
            places = waiting.pop()
            if not len(places):
                continue
            chosen = crystals.take(places)
            coordinates, lattices, owner, species = (
                torch.from_numpy(array).to(self.device)
                for array in (chosen.coordinates, chosen.lattices, chosen.owner, chosen.species)
            )
            bonds = find_bonds(coordinates, lattices, owner, LONG)
            angles, found = _count_angles(bonds, owner, len(chosen))
            if (found != "").any():
                # Those that cannot be treated leave; the rest is laid out again.
                reasons[places] = found
                waiting.append(places[found == ""])
            elif angles > ANGLES_AT_ONCE[kind] and len(places) > 1:
                waiting += np.array_split(places, 2)[::-1]
            else:
                # From the first to the second atoms: fractional steps (E, 3) times their cells.
                steps = coordinates[bonds.second] + bonds.image - coordinates[bonds.first]
                vector = (steps.unsqueeze(1) @ lattices[owner[bonds.first]]).squeeze(1).float()
                yield _Batch(places, chosen, species.long(), owner, bonds, vector)


def _weights(version: str, device: torch.device) -> dict[str, Tensor]:
    """Read the weights in the package's folder, without importing it and without unpickling."""
    found = find_spec("chgnet")
    if found is None or not found.submodule_search_locations:
        raise DataError("chgnet is not installed", hint="run pip install 'variolite[crystals]'")
    folder = Path(found.submodule_search_locations[0]) / "pretrained" / version
    files = sorted(folder.glob("*.pth.tar"))
    if not files:
        raise DataError(
            f"the installed chgnet has no weights of version {version}",
            where=str(folder),
            hint="run pip install 'chgnet>=0.4.2'",
        )
    content = torch.load(files[0], map_location=device, weights_only=True)
    return dict(content["model"]["state_dict"])


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
