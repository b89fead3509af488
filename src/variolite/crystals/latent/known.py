"""What is known of crystals before their latents are: the conditions of a prior, in arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures import Crystals
from variolite.errors import DataError

__all__ = ["SPACE_GROUP_COLUMNS", "Known", "Vocabulary", "known_of"]

SPACE_GROUP_COLUMNS = ("space_group", "space_group_number", "spacegroup.number", "spacegroup")
"""Names under which a property is taken for the number of the space group."""


@dataclass(frozen=True)
class Known:
    """Facts about B crystals with N atoms in all.

    Attributes
    ----------
    counts
        Atoms of every crystal, shape (B,).
    species
        Atomic numbers, 0 where free, shape (N,).
    space_groups
        International numbers 1 to 230, 0 where free, shape (B,).
    properties
        Numbers in the order of `Vocabulary.properties`, NaN where free, shape (B, P).
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
            raise DataError("the arrays of what is known of crystals do not fit each other")

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Atoms of crystal i are ``offsets[i]:offsets[i + 1]``, shape (B + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    def take(self, index: NDArray[np.integer]) -> Known:
        """Choose crystals by place."""
        return Known(
            counts=self.counts[index],
            species=self.species[atoms_of(self.offsets, index)],
            space_groups=self.space_groups[index],
            properties=self.properties[index],
        )

    def joined(self, other: Known) -> Known:
        """Append other crystals."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return Known(*(np.concatenate(pair) for pair in pairs))


def atoms_of(offsets: NDArray[np.int64], index: NDArray[np.integer]) -> NDArray[np.int64]:
    """Places of the atoms of the chosen crystals, crystal after crystal."""
    counts = np.diff(offsets)[index]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places: NDArray[np.int64] = np.repeat(offsets[:-1][index] - (ends - counts), counts)
    return np.asarray(places + np.arange(total), dtype=np.int64)


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
    def of(cls, known: Known, names: Sequence[str]) -> Vocabulary:
        """Collect the vocabulary of training crystals."""
        found = np.isfinite(known.properties)
        spread = [
            (float(values[here].mean()), float(values[here].std()) or 1.0)
            for values, here in zip(known.properties.T, found.T, strict=True)
        ]
        elements = np.unique(known.species)
        return cls(
            elements=tuple(int(number) for number in elements if number),
            largest=int(known.counts.max()),
            properties=tuple(names),
            location=tuple(location for location, _ in spread),
            scale=tuple(scale for _, scale in spread),
            space_groups=bool(known.space_groups.any()),
        )

    def tokens(self, species: NDArray[np.integer]) -> NDArray[np.int64]:
        """Number the elements from 1 on, 0 for free; those of no training crystal are free too."""
        table = np.zeros(256, dtype=np.int64)
        table[list(self.elements)] = np.arange(1, len(self.elements) + 1)
        return np.asarray(table[species])

    def standardised(self, properties: NDArray[np.float64]) -> NDArray[np.float64]:
        """Properties in standard deviations from the mean, shape (B, P)."""
        values: NDArray[np.float64] = (properties - self.location) / self.scale
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description."""
        return {
            "elements": list(self.elements),
            "largest": self.largest,
            "properties": list(self.properties),
            "location": list(self.location),
            "scale": list(self.scale),
            "space_groups": self.space_groups,
        }

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> Vocabulary:
        """Rebuild a vocabulary from `to_dict`."""
        return cls(
            elements=tuple(int(number) for number in description["elements"]),
            largest=int(description["largest"]),
            properties=tuple(str(name) for name in description["properties"]),
            location=tuple(float(value) for value in description["location"]),
            scale=tuple(float(value) for value in description["scale"]),
            space_groups=bool(description["space_groups"]),
        )


def known_of(crystals: Crystals, properties: Sequence[str] = ()) -> Known:
    """Read what is known of crystals from themselves and from their columns.

    Parameters
    ----------
    crystals
        Structures; a column called like one of `SPACE_GROUP_COLUMNS` gives space groups.
    properties
        Names of numeric columns.

    Raises
    ------
    DataError
        If a column is missing or is no column of numbers, or is empty.
    """
    columns = []
    for name in properties:
        values = crystals.properties.get(name)
        if values is None or values.dtype.kind not in "fiu":
            have = ", ".join(k for k, v in crystals.properties.items() if v.dtype.kind in "fiu")
            raise DataError(
                f"the crystals have no numeric property {name!r}",
                where="conditions of the prior",
                mend=f"choose among {have}" if have else "the data have no numeric property",
            )
        values = values.astype(np.float64)
        if not np.isfinite(values).any():
            raise DataError(
                f"no crystal has a value of {name!r}",
                where="conditions of the prior",
                mend="leave it out of properties",
            )
        columns.append(values)
    return Known(
        counts=crystals.counts.astype(np.int64),
        species=crystals.species.astype(np.int64),
        space_groups=_space_groups(crystals),
        properties=np.stack(columns, axis=1) if columns else np.empty((len(crystals), 0)),
    )


def _space_groups(crystals: Crystals) -> NDArray[np.int64]:
    for name in SPACE_GROUP_COLUMNS:
        values = crystals.properties.get(name)
        if values is not None and values.dtype.kind in "fiu":
            numbers = np.nan_to_num(values.astype(np.float64)).astype(np.int64)
            return np.asarray(np.where((numbers >= 1) & (numbers <= 230), numbers, 0))
    return np.zeros(len(crystals), dtype=np.int64)
