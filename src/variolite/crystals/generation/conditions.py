"""Conditions of a prior: what is known of crystals, or wanted, before their latents are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Crystals, offsets_of, ragged_places
from variolite.errors import DataError, nearest

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SPACE_GROUP_COLUMNS = ("space_group", "space_group_number", "spacegroup.number", "spacegroup")
"""Names under which a property is taken for the number of the space group."""

SPACE_GROUPS = 231  # international numbers, and 0 for unknown

# Fractions of the training crystals whose conditions are dropped, so that a model knows what to do
# where nothing is asked for, and so that guidance is possible (J. Ho and T. Salimans, 2022).

DROPPED_TOGETHER = 0.4  # space group and properties at once, as generation without conditions needs
DROPPED_EACH = 0.3  # of the rest, the space group is dropped, and each property likewise


def numeric_column(crystals: Crystals, name: str) -> Floats:
    """Return a property, NaN where it is not finite, (B,); a DataError if it is not numeric."""
    values = crystals.properties.get(name)
    if values is None or values.dtype.kind not in "fiu":
        numeric = [n for n, found in crystals.properties.items() if found.dtype.kind in "fiu"]
        close = nearest(name, numeric)
        what = f"the crystals have no numeric property {name!r}"
        if values is not None:
            what = f"{name!r} is text, not numbers"
        hint = f"did you mean {close}?" if close else f"they have: {', '.join(numeric) or 'none'}"
        raise DataError(what, where="properties", hint=hint)
    column = values.astype(np.float64)
    return np.where(np.isfinite(column), column, np.nan)


@dataclass(frozen=True)
class Conditions:
    """What is known of B crystals with N atoms in all; numbers are 0 where unknown.

    ``counts`` of atoms (B,), atomic numbers ``species`` (N,), international ``space_groups``
    (B,), and ``properties`` in the order of `Vocabulary.properties`, NaN where unknown, (B, P).
    """

    counts: Integers
    species: Integers
    space_groups: Integers
    properties: Floats

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def offsets(self) -> Integers:
        """Atoms of crystal i are ``offsets[i]:offsets[i + 1]``, shape (B + 1,)."""
        return offsets_of(self.counts)

    def atoms_of(self, index: NDArray[np.integer]) -> Integers:
        """Places of the atoms of the chosen crystals, crystal after crystal."""
        return ragged_places(self.offsets[:-1][index], self.counts[index])

    def take(self, index: NDArray[np.integer]) -> Conditions:
        """Choose crystals by place."""
        species = self.species[self.atoms_of(index)]
        return Conditions(
            self.counts[index], species, self.space_groups[index], self.properties[index]
        )

    def joined(self, other: Conditions) -> Conditions:
        """Append other crystals."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Conditions(*(np.concatenate(pair) for pair in pairs))

    @classmethod
    def of(cls, crystals: Crystals, properties: Sequence[str] = ()) -> Conditions:
        """Read the conditions that crystals meet from themselves and from numeric columns.

        A column called like one of `SPACE_GROUP_COLUMNS` gives space groups. Raises `DataError`
        if a property is missing, is not numeric, or has no value.
        """
        columns = np.empty((len(crystals), len(properties)))
        for place, name in enumerate(properties):
            columns[:, place] = numeric_column(crystals, name)
            if np.isnan(columns[:, place]).all():
                raise DataError(
                    f"no crystal has a value of {name!r}",
                    where="conditions of the prior",
                    hint="leave it out of properties",
                )
        return cls(
            crystals.counts.astype(np.int64),
            crystals.species.astype(np.int64),
            _space_groups(crystals),
            columns,
        )


def _space_groups(crystals: Crystals) -> Integers:
    for name in SPACE_GROUP_COLUMNS:
        values = crystals.properties.get(name)
        if values is not None and values.dtype.kind in "fiu":
            numbers = np.nan_to_num(values.astype(np.float64)).astype(np.int64)
            return np.where((numbers >= 1) & (numbers < SPACE_GROUPS), numbers, 0)
    return np.zeros(len(crystals), dtype=np.int64)


@dataclass(frozen=True)
class Vocabulary:
    """The conditions that a prior was fitted with.

    Atomic numbers of the training crystals, ascending; atoms of the largest one; names of the
    numeric conditions with their means and standard deviations among the training crystals;
    whether the space group may be asked for.
    """

    elements: tuple[int, ...]
    largest: int
    properties: tuple[str, ...]
    location: tuple[float, ...]
    scale: tuple[float, ...]
    space_groups: bool

    @classmethod
    def of(cls, conditions: Conditions, names: Sequence[str]) -> Vocabulary:
        """Collect the vocabulary of training crystals."""
        known = [column[np.isfinite(column)] for column in conditions.properties.T]
        return cls(
            elements=tuple(np.unique(conditions.species[conditions.species > 0]).tolist()),
            largest=int(conditions.counts.max()),
            properties=tuple(names),
            location=tuple(float(values.mean()) for values in known),
            # A property that is the same for all crystals has no scale of its own.
            scale=tuple(float(values.std()) or 1.0 for values in known),
            space_groups=bool(conditions.space_groups.any()),
        )

    def tokens(self, species: NDArray[np.integer]) -> Integers:
        """Number the elements from 1 on, 0 for unknown and for those of no training crystal."""
        table = np.zeros(256, dtype=np.int64)
        table[list(self.elements)] = np.arange(1, len(self.elements) + 1)
        return np.asarray(table[species])

    def standardised(self, properties: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Properties in deviations from the mean, 0 where unknown, and which are known, (B, P)."""
        values = (properties - self.location) / self.scale
        known = np.isfinite(values)
        return np.where(known, values, 0.0), known


class ConditionTensors(NamedTuple):
    """Conditions of B crystals with N atoms as a network reads them; 0 is unknown throughout.

    Elements as `Vocabulary.tokens` (N,), space groups (B,), standardised properties (B, P), and
    1 where a property is given (B, P).
    """

    tokens: Tensor
    space_groups: Tensor
    values: Tensor
    given: Tensor

    @classmethod
    def of(
        cls, conditions: Conditions, vocabulary: Vocabulary, device: torch.device
    ) -> ConditionTensors:
        """Copy conditions to a device."""
        values, known = vocabulary.standardised(conditions.properties)
        return cls(
            torch.from_numpy(vocabulary.tokens(conditions.species)).to(device),
            torch.from_numpy(conditions.space_groups).to(device),
            torch.from_numpy(values).float().to(device),
            torch.from_numpy(known).float().to(device),
        )

    def take(self, atoms: Tensor, crystals: Tensor) -> ConditionTensors:
        """Choose crystals by place, with the places of their atoms."""
        return ConditionTensors(self.tokens[atoms], *(some[crystals] for some in self[1:]))

    def dropped(self, space_groups: Tensor, given: Tensor) -> ConditionTensors:
        """Drop conditions where a mask is 0: (B,) for space groups, (B, P) for properties."""
        kept = self.given * given
        return ConditionTensors(
            self.tokens, self.space_groups * space_groups, self.values * kept, kept
        )
