"""Checks of what a crystal model must not depend on, for any model."""

from variolite.crystals.invariance.checks import check_cells, check_invariance
from variolite.crystals.invariance.report import CellCheck, Change, InvarianceReport
from variolite.crystals.invariance.transformations import (
    Transformation,
    move_by_whole_cells,
    other_cell,
    permutation,
    random_rotations,
    reflection,
    rotation,
    shift_of_origin,
)

__all__ = [
    "CellCheck",
    "Change",
    "InvarianceReport",
    "Transformation",
    "check_cells",
    "check_invariance",
    "move_by_whole_cells",
    "other_cell",
    "permutation",
    "random_rotations",
    "reflection",
    "rotation",
    "shift_of_origin",
]
