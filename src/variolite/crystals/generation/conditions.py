"""Conditions of a prior: what is known of crystals, or wanted, before their latents are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Crystals
from variolite.crystals.model.batch import Layout
from variolite.errors import DataError

SPACE_GROUP_COLUMNS = ("space_group", "space_group_number", "spacegroup.number", "spacegroup")
"""Names under which a property is taken for the number of the space group."""

SPACE_GROUPS = 231
"""International numbers, and 0 for unknown."""


@dataclass(frozen=True)
class Conditions:
    """What is known of B crystals with N atoms in all.

    Attributes
    ----------
    counts
        Atoms of every crystal, shape (B,).
    species
        Atomic numbers, 0 where unknown, shape (N,).
    space_groups
        International numbers 1 to 230, 0 where unknown, shape (B,).
    properties
        Numbers in the order of `Vocabulary.properties`, NaN where unknown, shape (B, P).
    """

    counts: NDArray[np.int64]
    species: NDArray[np.int64]
    space_groups: NDArray[np.int64]
    properties: NDArray[np.float64]

    def __post_init__(self) -> None:
        fits = (
            self.counts.ndim == 1
            and self.species.shape == (self.counts.sum(),)
            and self.space_groups.shape == self.counts.shape
            and self.properties.ndim == 2
            and len(self.properties) == len(self.counts)
        )
        if not fits:
            raise DataError("the arrays of the conditions of crystals do not fit each other")

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Atoms of crystal i are ``offsets[i]:offsets[i + 1]``, shape (B + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    def take(self, index: NDArray[np.integer]) -> Conditions:
        """Choose crystals by place."""
        return Conditions(
            counts=self.counts[index],
            species=self.species[atoms_of(self.offsets, index)],
            space_groups=self.space_groups[index],
            properties=self.properties[index],
        )

    def joined(self, other: Conditions) -> Conditions:
        """Append other crystals."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Conditions(*(np.concatenate(pair) for pair in pairs))

    @classmethod
    def of(cls, crystals: Crystals, properties: Sequence[str] = ()) -> Conditions:
        """Read the conditions that crystals meet from themselves and from their columns.

        Parameters
        ----------
        crystals
            Structures; a column called like one of `SPACE_GROUP_COLUMNS` gives space groups.
        properties
            Names of numeric columns.

        Raises
        ------
        DataError
            If a column is missing, is not numeric, or is empty.
        """
        columns = [_column(crystals, name) for name in properties]
        return cls(
            counts=crystals.counts.astype(np.int64),
            species=crystals.species.astype(np.int64),
            space_groups=_space_groups(crystals),
            properties=np.stack(columns, axis=1) if columns else np.empty((len(crystals), 0)),
        )


def atoms_of(offsets: NDArray[np.int64], index: NDArray[np.integer]) -> NDArray[np.int64]:
    """Places of the atoms of the chosen crystals, crystal after crystal."""
    counts = np.diff(offsets)[index]
    # Within the result crystal i starts at ends[i] - counts[i]; shift each to its own offset.
    ends = np.cumsum(counts)
    places: NDArray[np.int64] = np.repeat(offsets[:-1][index] - (ends - counts), counts)
    return np.asarray(places + np.arange(len(places)), dtype=np.int64)


def _column(crystals: Crystals, name: str) -> NDArray[np.float64]:
    values = crystals.properties.get(name)
    if values is None or values.dtype.kind not in "fiu":
        have = ", ".join(k for k, v in crystals.properties.items() if v.dtype.kind in "fiu")
        raise DataError(
            f"the crystals have no numeric property {name!r}",
            where="conditions of the prior",
            hint=f"choose among {have}" if have else "the data have no numeric property",
        )
    if not np.isfinite(values.astype(np.float64)).any():
        raise DataError(
            f"no crystal has a value of {name!r}",
            where="conditions of the prior",
            hint="leave it out of properties",
        )
    return values.astype(np.float64)


def _space_groups(crystals: Crystals) -> NDArray[np.int64]:
    for name in SPACE_GROUP_COLUMNS:
        values = crystals.properties.get(name)
        if values is not None and values.dtype.kind in "fiu":
            numbers = np.nan_to_num(values.astype(np.float64)).astype(np.int64)
            return np.where((numbers >= 1) & (numbers < SPACE_GROUPS), numbers, 0)
    return np.zeros(len(crystals), dtype=np.int64)


@dataclass(frozen=True)
class Vocabulary:
    """The conditions a prior was fitted with.

    Attributes
    ----------
    elements
        Atomic numbers of the training crystals, in ascending order.
    largest
        Most atoms of a training crystal.
    properties
        Names of the numeric conditions.
    location, scale
        Mean and standard deviation of every property among the training crystals.
    space_groups
        Whether the space group may be asked for.
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

    def tokens(self, species: NDArray[np.integer]) -> NDArray[np.int64]:
        """Number the elements from 1 on, 0 for unknown and for those of no training crystal."""
        table = np.zeros(256, dtype=np.int64)
        table[list(self.elements)] = np.arange(1, len(self.elements) + 1)
        return np.asarray(table[species])

    def standardised(
        self, properties: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Properties in deviations from the mean, 0 where unknown, and which are known, (B, P)."""
        values = (properties - self.location) / self.scale
        known = np.isfinite(values)
        return np.where(known, values, 0.0), known


@dataclass(frozen=True)
class ConditionTensors:
    """Conditions of B crystals as a network reads them.

    Attributes
    ----------
    tokens
        Element of every atom, 0 where unknown, shape (N,).
    space_groups
        0 where unknown, shape (B,).
    values
        Standardised properties, 0 where unknown, shape (B, P).
    given
        1 where the property is known, shape (B, P).
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
            tokens=torch.from_numpy(vocabulary.tokens(conditions.species)).to(device),
            space_groups=torch.from_numpy(conditions.space_groups).to(device),
            values=torch.from_numpy(values).float().to(device),
            given=torch.from_numpy(known).float().to(device),
        )

    def dropped(
        self, layout: Layout, species: Tensor, space_groups: Tensor, given: Tensor
    ) -> ConditionTensors:
        """Drop conditions where a mask is 0: (B,) for two of them, (B, P) for properties."""
        kept = self.given * given
        return ConditionTensors(
            tokens=self.tokens * species[layout.owner],
            space_groups=self.space_groups * space_groups,
            values=self.values * kept,
            given=kept,
        )

    def free(self) -> ConditionTensors:
        """Drop all conditions."""
        return ConditionTensors(*(torch.zeros_like(tensor) for tensor in self._tensors))

    @property
    def any(self) -> bool:
        """Whether anything is known."""
        return any(bool(tensor.any()) for tensor in self._tensors)

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        return self.tokens, self.space_groups, self.values, self.given
