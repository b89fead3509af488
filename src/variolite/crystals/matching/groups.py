"""Pairs of structures whose atoms fall into groups of the same sizes, laid side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures import Crystals, compositions

__all__ = ["PairGroup", "group_by_sizes"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class PairGroup:
    """G pairs of structures of n atoms each, in the order that site matching needs.

    Attributes
    ----------
    index
        Places of the pairs in their sets, shape (G,).
    first, second
        Fractional coordinates, shape (G, n, 3): grouped by element, small groups first,
        in the same order of elements in both. Atom 0 of the second is the anchor.
    sizes
        Number of atoms of each group, ascending.
    """

    index: Integers
    first: Floats
    second: Floats
    sizes: Integers


def group_by_sizes(first: Crystals, second: Crystals, index: Integers) -> Iterator[PairGroup]:
    """Group chosen pairs, which must have equal compositions, by the sizes of their groups.

    The anchor is the first atom, in the order given, of the rarest elements of the second.
    """
    first, second = first.take(index), second.take(index)
    amounts = compositions(second)
    owner = second.owner
    size = amounts[owner, second.species]
    by_rarity = np.lexsort((np.arange(len(owner)), size, owner))
    anchor = by_rarity[second.offsets[:-1]]
    element = second.species[anchor]
    is_anchor = np.zeros(len(owner), dtype=bool)
    is_anchor[anchor] = True
    second_order = np.lexsort(
        (~is_anchor, second.species, second.species != element[owner], size, owner)
    )
    first_size = amounts[first.owner, first.species]
    first_order = np.lexsort(
        (first.species, first.species != element[first.owner], first_size, first.owner)
    )
    size = size[second_order]
    groups: dict[bytes, list[int]] = {}
    for place in range(len(second)):
        key = size[second.offsets[place] : second.offsets[place + 1]].tobytes()
        groups.setdefault(key, []).append(place)
    for members in groups.values():
        chosen = np.array(members)
        count = int(second.counts[chosen[0]])
        atoms = second.offsets[chosen][:, None] + np.arange(count)
        yield PairGroup(
            index=index[chosen],
            first=first.coordinates[first_order[atoms]],
            second=second.coordinates[second_order[atoms]],
            sizes=_block_sizes(size[atoms[0]]),
        )


def _block_sizes(size_of_atom: Integers) -> Integers:
    """Sizes of the groups from the size of the group of every atom, in order."""
    sizes, atoms = np.unique(size_of_atom, return_counts=True)
    return np.repeat(sizes, atoms // sizes)
