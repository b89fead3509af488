"""Named tolerances of structure matching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from variolite.errors import DataError


@dataclass(frozen=True)
class Tolerance:
    """How far two structures may differ and still be called the same.

    The meaning is that of pymatgen's StructureMatcher.

    Attributes
    ----------
    name
        Name in metrics and tables.
    sites
        Largest displacement, as a share of the free length per atom (V/n)^(1/3).
    lengths
        Largest relative difference of a cell length.
    angles
        Largest difference of a cell angle in degrees.
    scaled
        Whether both cells are brought to the same volume first.
    """

    name: str
    sites: float
    lengths: float
    angles: float
    scaled: bool = True

    def __post_init__(self) -> None:
        if min(self.sites, self.lengths, self.angles) <= 0:
            raise DataError(
                f"{self.sites}, {self.lengths}, {self.angles} were given",
                where=f"tolerance {self.name}",
                hint="Give three positive numbers",
            )


CDVAE = Tolerance("cdvae", sites=0.5, lengths=0.3, angles=10.0)
DEFAULT = Tolerance("default", sites=0.3, lengths=0.2, angles=5.0)
STRICT = Tolerance("strict", sites=0.1, lengths=0.05, angles=3.0, scaled=False)

TOLERANCES: Mapping[str, Tolerance] = MappingProxyType(
    {tolerance.name: tolerance for tolerance in (CDVAE, DEFAULT, STRICT)}
)
