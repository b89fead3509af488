"""The network of CHGNet evaluated from its weights (Deng et al. 2023, Nature Machine Intelligence).

Every message passes a gated perceptron over joined vectors, W [a, b, c]. Written as
W_a a + W_b b + W_c c, the products are taken once per atom and per bond instead of
once per message, which leaves a third of the arithmetic; forces need the gradient by
the bond vectors alone. The tests hold it equal to the package's own evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

from variolite.crystals.foundation.neighbours import Bonds, angles_between

__all__ = ["LONG", "SHORT", "WIDTH", "Evaluation", "Network"]

LONG, SHORT = 6.0, 3.0
"""Cutoffs in Angstrom of the bonds that carry messages to atoms and of those that form angles."""

ENVELOPE = 8
"""Power of the polynomial that brings a bond smoothly to nothing at its cutoff."""

WIDTH = 64
BLOCKS = 4


@dataclass(frozen=True)
class Evaluation:
    """What the network says of a batch.

    Attributes
    ----------
    energies
        Total energies in eV, shape (B,).
    features
        Atoms as they stand before the last message, shape (N, 64).
    """

    energies: Tensor
    features: Tensor


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
    """Bonds in both directions and the angles between short ones, with what damps them."""

    centre: Tensor
    far: Tensor
    weight: Tensor
    near: Tensor
    ends: Tensor
    left: Tensor
    left_bond: Tensor
    right_bond: Tensor
    damping: Tensor


class Network:
    """CHGNet 0.3.0 on the device of its weights.

    Parameters
    ----------
    state
        The weights by the names the package gives them.
    """

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
    ) -> Evaluation:
        """Evaluate a batch.

        Parameters
        ----------
        species
            Atomic numbers, int64, shape (N,).
        owner
            Crystal of every atom, int64, shape (N,).
        crystals
            Their number, B.
        bonds
            All bonds up to `LONG`.
        vector
            From the first to the second atom of every bond in Angstrom, float32, (E, 3).
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
        return Evaluation(of_atom.new_zeros(crystals).index_add(0, owner, of_atom), atoms)

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
