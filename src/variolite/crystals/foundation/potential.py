"""Potentials by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from variolite.crystals.foundation.chgnet_potential import ChgnetPotential
from variolite.crystals.foundation.responses import Potential
from variolite.errors import DataError, nearest

__all__ = ["POTENTIALS", "load_potential"]


def _chgnet(file: Path | None, device: torch.device) -> Potential:
    if file is not None:
        raise DataError(
            "chgnet has its weights in its package and takes no model file",
            where=str(file),
            mend="leave the file out",
        )
    return ChgnetPotential(device)


POTENTIALS: Mapping[str, Callable[[Path | None, torch.device], Potential]] = {
    "chgnet": _chgnet,
}


def load_potential(
    name: str = "chgnet", *, file: Path | None = None, device: torch.device | str = "cpu"
) -> Potential:
    """Load a pretrained potential; nothing is downloaded.

    Parameters
    ----------
    name
        One of `POTENTIALS`.
    file
        Its model file, for those whose packages bring no weights.
    device
        Where to run.

    Raises
    ------
    DataError
        If the name is unknown, or its package or file is missing.
    """
    if name not in POTENTIALS:
        close = nearest(name, POTENTIALS)
        raise DataError(
            f"there is no potential {name!r}",
            mend=f"did you mean {close}?" if close else f"choose from {', '.join(POTENTIALS)}",
        )
    return POTENTIALS[name](file, torch.device(device))
