"""Where the paths of the flow start: prototypes that many crystals share, and normal noise."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from variolite.crystals.crystals import offsets_of
from variolite.crystals.generation.conditions import Floats, Integers
from variolite.crystals.model.batch import Layout

# A path starts at the mean of the element of each atom, plus, for a crystal with a prototype, what
# its sites add to that, plus normal noise. The cell is the same for all atoms of a crystal and most
# of what says the element is known, so that a network has little more to find than the places of
# the atoms; and with a prototype, only by how much they are displaced.

PSEUDO_ATOMS = 0.5  # weight of the mean over all elements, in atoms, beside those of one element
FEWEST_FORMULAS = 5  # distinct formulas that a prototype is the mean of: it is none of them
SAME_PROTOTYPE = 0.6  # mean square distance of atoms, in standardised latents, within a prototype
MOST_WAYS = 24  # orders of equally frequent elements beyond which no prototype is sought
ROUNDS = 3  # of finding the members of a prototype and taking their mean
LEAST_SPREAD = 0.05  # least standard deviation of the elements of a part of a prototype


class StartMeans(NamedTuple):
    """Means that paths start around (N, L), and 1 for crystals with a prototype, else 0, (B,)."""

    base: Tensor
    kinds: Tensor

    def take(self, atoms: Tensor, crystals: Tensor) -> StartMeans:
        """Choose crystals by place, with the places of their atoms."""
        return StartMeans(self.base[atoms], self.kinds[crystals])


class Start(nn.Module):
    """Normal distributions that paths start from, for crystals without a prototype and with one.

    ``mean`` by token of the element (E + 1, L); ``own`` and ``shared`` are factors of the
    covariance of what atoms of one crystal do not share and do, (2, L, L). As it is made: standard
    normal, without prototypes.

    K prototypes have S sites in all, site after site, those of one element together: their
    ``sizes``, space ``groups`` and numbers of ``members``, (K,) each; for each site the part of the
    prototype that it belongs to, all of one element, ``roles`` (S,), what it adds to latents of an
    element, ``sites`` (S, L), and the mean of the ``elements`` of the members, (S, L); ``spread``
    is how far elements are from that mean, (L,).
    """

    mean: Tensor
    own: Tensor
    shared: Tensor
    spread: Tensor
    sizes: Tensor
    groups: Tensor
    members: Tensor
    roles: Tensor
    sites: Tensor
    elements: Tensor

    def __init__(self, latent: int, elements: int, prototypes: int = 0, sites: int = 0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(elements + 1, latent))
        self.register_buffer("own", torch.eye(latent).repeat(2, 1, 1))
        self.register_buffer("shared", torch.zeros(2, latent, latent))
        self.register_buffer("spread", torch.ones(latent))
        for name in ("sizes", "groups", "members"):
            self.register_buffer(name, torch.zeros(prototypes, dtype=torch.int64))
        self.register_buffer("roles", torch.zeros(sites, dtype=torch.int64))
        self.register_buffer("sites", torch.zeros(sites, latent))
        self.register_buffer("elements", torch.zeros(sites, latent))

    def forward(
        self, noise: Tensor, means: StartMeans, layout: Layout, temperature: float = 1.0
    ) -> Tensor:
        """Places (N, L) for noise of the atoms, then of the crystals, (N + B, L)."""
        atoms, crystals = torch.split(noise, [len(means.base), len(means.kinds)])
        spread = [
            atoms @ own + (crystals @ shared).index_select(0, layout.owner)
            for own, shared in zip(self.own, self.shared, strict=True)
        ]
        of_atoms = means.kinds.index_select(0, layout.owner).unsqueeze(1) > 0
        return means.base + temperature * torch.where(of_atoms, spread[1], spread[0])

    @property
    def deviations(self) -> Tensor:
        """Root mean square distance of starts from their means, of both kinds, (2,)."""
        return (self.own.square() + self.shared.square()).sum(dim=(1, 2)).sqrt()

    def _by_class(self) -> dict[tuple[int, ...], dict[int, list[int]]]:
        """Prototypes by the atoms of their elements, rarest first, then by space group."""
        found: dict[tuple[int, ...], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        roles = torch.split(self.roles, self.sizes.tolist())
        for k, (group, own) in enumerate(zip(self.groups.tolist(), roles, strict=True)):
            found[tuple(torch.bincount(own).tolist())][group].append(k)
        return found

    def groups_of(self, tokens: Integers, counts: Integers) -> dict[int, list[int]]:
        """Space groups of the prototypes that suit each composition, by its place among B."""
        known, found = self._by_class(), {}
        for i, atoms in enumerate(np.split(tokens, np.cumsum(counts)[:-1])):
            groups = known.get(tuple(_by_amount(atoms)[1].tolist()))
            if groups:
                found[i] = [*groups]
        return found

    def assign(
        self,
        tokens: Integers,
        counts: Integers,
        groups: Integers,
        random: np.random.Generator,
        latents: NDArray[np.floating] | None = None,
    ) -> StartMeans:
        """Draw prototypes for crystals of known elements and space groups, by their frequencies.

        Which element takes which part goes by how much it is like those of the members. Of crystals
        whose latents (N, L) are known it is the nearest prototype, if they would be members.
        """
        mean, sites, elements, spread, members = (
            buffer.cpu().numpy()
            for buffer in (self.mean, self.sites, self.elements, self.spread, self.members)
        )
        base, kinds = mean[tokens], np.zeros(len(counts), dtype=np.int64)
        starts, edges = offsets_of(self.sizes.cpu().numpy()), offsets_of(counts)
        known = self._by_class()
        for i, group in enumerate(groups.tolist()):
            atoms = np.arange(edges[i], edges[i + 1])
            own = tokens[atoms]
            kinds_of, amounts = _by_amount(own)
            candidates = known.get(tuple(amounts.tolist()), {}).get(group)
            if not candidates:
                continue
            ways = np.array([*_ways(amounts)])
            added = [sites[starts[k] : starts[k + 1]] for k in candidates]
            if latents is not None:
                residual = latents[atoms] - mean[own]
                near = [_best_order(residual, own, _centred(one), [*ways]) for one in added]
                best = int(np.argmin([distance for distance, _ in near]))
                distance, order = near[best]
                if distance >= SAME_PROTOTYPE:
                    continue
            else:
                first = np.cumsum(amounts) - amounts
                # (C, R, L): what elements the parts of candidates have; (W, R, L) those of ways.
                expected = np.stack([elements[starts[k] + first] for k in candidates])
                off = (mean[kinds_of[ways]] - expected[:, None]) / spread
                score = np.log(members[candidates])[:, None] - 0.5 * (off**2).sum(axis=(2, 3))
                # The largest of scores with Gumbel noise is a draw from their softmax.
                drawn = int((score + random.gumbel(size=score.shape)).argmax())
                best, way = divmod(drawn, len(ways))
                order = np.concatenate([*_atoms_of(own, ways[way])])
            base[atoms[order]] += added[best]
            kinds[i] = 1
        device = self.mean.device
        return StartMeans(torch.from_numpy(base).to(device), torch.from_numpy(kinds).to(device))


def fit_start(
    latents: Floats,
    tokens: Integers,
    counts: Integers,
    groups: Integers,
    formulas: NDArray[np.str_],
    elements: int,
) -> tuple[Start, StartMeans]:
    """Fit starts to standardised latents (N, L) of B crystals, and return theirs too."""
    mean = _mean_by(tokens, latents, elements + 1, PSEUDO_ATOMS)
    residual = latents - mean[tokens]
    found, base, kinds = _prototypes(residual, mean, tokens, counts, groups, formulas)
    start = Start(latents.shape[1], elements, *(len(found.get(n, ())) for n in ("sizes", "roles")))
    owner = np.repeat(np.arange(len(counts)), counts)
    for kind in (0, 1):
        # Where there are none of a kind, noise is that of all.
        some = kinds == kind if (kinds == kind).any() else kinds >= 0
        own, shared = _components((residual - base)[some[owner]], counts[some])
        start.own[kind], start.shared[kind] = _root(own), _root(shared)
    for name, values in {"mean": mean, **found}.items():
        start.get_buffer(name).copy_(torch.from_numpy(values))
    of_atoms = torch.from_numpy(mean[tokens] + base).float()
    return start, StartMeans(of_atoms, torch.from_numpy(kinds))


def _prototypes(
    residual: Floats,
    mean: Floats,
    tokens: Integers,
    counts: Integers,
    groups: Integers,
    formulas: NDArray[np.str_],
) -> tuple[dict[str, NDArray[Any]], Floats, Integers]:
    """Find prototypes, as the buffers of `Start` describe them.

    Returns also what each adds to the atoms of its members (N, L), and who is one, (B,).
    """
    edges = offsets_of(counts)
    classes: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for i, group in enumerate(groups.tolist()):
        amounts = _by_amount(tokens[edges[i] : edges[i + 1]])[1]
        classes[group, tuple(amounts.tolist())].append(i)
    base, kinds = np.zeros_like(residual), np.zeros(len(counts), dtype=np.int64)
    found: dict[str, list[Any]] = defaultdict(list)
    off = []
    for (group, amount), members in classes.items():
        ways = [*_ways(np.array(amount))]
        if len(set(formulas[members].tolist())) < FEWEST_FORMULAS or not ways:
            continue
        left = members
        while len(set(formulas[left].tolist())) >= FEWEST_FORMULAS:
            # All that are like the first one, then all that are like their mean.
            atoms = np.arange(edges[left[0]], edges[left[0] + 1])
            order = np.concatenate([*_atoms_of(tokens[atoms], ways[0])])
            middle = _centred(residual[atoms[order]])
            orders: dict[int, Integers] = {}
            for _ in range(ROUNDS):
                orders = {}
                for i in left:
                    atoms = np.arange(edges[i], edges[i + 1])
                    distance, order = _best_order(residual[atoms], tokens[atoms], middle, ways)
                    if distance < SAME_PROTOTYPE or not orders:
                        orders[i] = atoms[order]
                middle = np.mean([_centred(residual[order]) for order in orders.values()], axis=0)
            left = [i for i in left if i not in orders]
            if len(set(formulas[[*orders]].tolist())) < FEWEST_FORMULAS:
                continue
            every = np.stack([*orders.values()])  # (members, sites)
            whole, those = residual[every].mean(axis=0), mean[tokens[every]]
            base[every] = whole
            kinds[[*orders]] = 1
            for name, values in {
                "sizes": [len(whole)],
                "groups": [group],
                "members": [len(orders)],
                "roles": np.repeat(np.arange(len(amount)), amount),
                "sites": whole,
                "elements": those.mean(axis=0),
            }.items():
                found[name].append(values)
            off.append((those - those.mean(axis=0)).reshape(-1, residual.shape[1]))
    arrays = {name: np.concatenate(parts) for name, parts in found.items()}
    if off:
        arrays["spread"] = np.maximum(np.concatenate(off).std(axis=0), LEAST_SPREAD)
    return arrays, base, kinds


def _by_amount(tokens: Integers) -> tuple[Integers, Integers]:
    """Elements of a crystal and their atoms, rarest first."""
    elements, amounts = np.unique(tokens, return_counts=True)
    order = np.argsort(amounts, kind="stable")
    return elements[order], amounts[order]


def _ways(amounts: Integers) -> Iterator[tuple[int, ...]]:
    """Yield the orders of the elements that keep the amounts; none where there are too many."""
    _, equal = np.unique(amounts, return_counts=True)
    if np.prod([float(math.factorial(k)) for k in equal]) <= MOST_WAYS:
        for way in permutations(range(len(amounts))):
            if (amounts[list(way)] == amounts).all():
                yield way


def _atoms_of(tokens: Integers, way: Sequence[int]) -> Iterator[Integers]:
    """Yield the places of the atoms of each element, in an order of the elements."""
    elements, _ = _by_amount(tokens)
    for role in way:
        yield np.flatnonzero(tokens == elements[role])


def _centred(atoms: Floats) -> Floats:
    return np.asarray(atoms - atoms.mean(axis=0))


def _best_order(
    residual: Floats, tokens: Integers, middle: Floats, ways: Iterable[Sequence[int]]
) -> tuple[float, Integers]:
    """Order the atoms of a crystal (n, L) as the sites of a prototype (n, L) are.

    Returns the mean square distance then, translations of all atoms left out, and the order.
    """
    centred, best = _centred(residual), (np.inf, np.empty(0, dtype=np.int64))
    for way in ways:
        order, total, place = [], 0.0, 0
        for atoms in _atoms_of(tokens, way):
            there = middle[place : place + len(atoms)]
            place += len(atoms)
            square = ((centred[atoms][:, None] - there) ** 2).sum(axis=2)
            ours, theirs = linear_sum_assignment(square)
            total += float(square[ours, theirs].sum())
            order.append(atoms[ours[np.argsort(theirs)]])
        if total < best[0]:
            best = (total, np.concatenate(order))
    return best[0] / len(tokens), best[1]


def _mean_by(index: Integers, values: Floats, rows: int, pseudo: float) -> Floats:
    sums = np.zeros((rows, values.shape[1]))
    np.add.at(sums, index, values)
    found: Floats = sums / (np.bincount(index, minlength=rows)[:, None] + pseudo)
    return found


def _components(residual: Floats, counts: Integers) -> tuple[Floats, Floats]:
    """Covariances (L, L) of what is an atom's own and of what a crystal shares, by moments."""
    owner = np.repeat(np.arange(len(counts)), counts)
    mean = _mean_by(owner, residual, len(counts), 0.0)
    apart = residual - mean[owner]
    own = apart.T @ apart / max(len(residual) - len(counts), 1)
    # The mean over the atoms of a crystal varies by what is their own, too.
    return own, mean.T @ mean / len(counts) - own * (1.0 / counts).mean()


def _root(covariance: Floats) -> Tensor:
    """Symmetric square root; negative eigenvalues, which noise in an estimate makes, count as 0."""
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return torch.from_numpy(root).float()
