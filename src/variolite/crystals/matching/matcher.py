"""Matching by pymatgen itself: the reference that the array implementation is held to."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from variolite.crystals.matching.pairs import Matches
from variolite.crystals.matching.tolerances import Tolerance
from variolite.crystals.structures import Crystals, to_pymatgen
from variolite.errors import DataError

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher

__all__ = ["match_by_pymatgen", "structure_matcher"]


def structure_matcher(tolerance: Tolerance, *, primitive: bool) -> StructureMatcher:
    """Return pymatgen's ``StructureMatcher`` with the given tolerances.

    Raises
    ------
    DataError
        If pymatgen is not installed.
    """
    try:
        from pymatgen.analysis.structure_matcher import StructureMatcher
    except ImportError:
        raise DataError(
            "pymatgen is not installed", mend="pip install 'variolite[crystals]'"
        ) from None
    return StructureMatcher(
        ltol=tolerance.lengths,
        stol=tolerance.sites,
        angle_tol=tolerance.angles,
        primitive_cell=primitive,
        scale=tolerance.scaled,
    )


def match_by_pymatgen(
    first: Crystals, second: Crystals, tolerance: Tolerance, *, primitive: bool = False
) -> Matches:
    """Match pairs of structures, one call of pymatgen after the other.

    Slow; for checks. A pair on which pymatgen raises an error does not match.

    Parameters
    ----------
    first, second
        Sets of B structures; pair i is the i-th of each.
    tolerance
        What counts as the same.
    primitive
        Whether cells are made primitive before they are compared.
    """
    matcher = structure_matcher(tolerance, primitive=primitive)
    rms = np.full(len(second), np.nan)
    fits = np.zeros(len(second), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, (one, other) in enumerate(zip(first, second, strict=True)):
            pair = (to_pymatgen(one), to_pymatgen(other))
            try:
                found = matcher.get_rms_dist(*pair)  # type: ignore[no-untyped-call]
                fits[place] = matcher.fit(*pair)
            except (ValueError, np.linalg.LinAlgError):
                continue
            rms[place] = np.nan if found is None else found[0]
    return Matches(rms, fits)
