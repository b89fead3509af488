"""Potentials by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from variolite.crystals.foundation.chgnet_potential import ChgnetPotential
from variolite.crystals.foundation.responses import Potential
from variolite.errors import DataError, nearest

__all__ = ["POTENTIALS", "load_potential"]


POTENTIALS: Mapping[str, Callable[[torch.device], Potential]] = {"chgnet": ChgnetPotential}


def load_potential(name: str = "chgnet", *, device: torch.device | str = "cpu") -> Potential:
    """Load a pretrained potential whose weights come with its package; nothing is downloaded.

    Parameters
    ----------
    name
        One of `POTENTIALS`.
    device
        Where to run.

    Raises
    ------
    DataError
        If the name is unknown or its package is missing.
    """
    if name not in POTENTIALS:
        close = nearest(name, POTENTIALS)
        raise DataError(
            f"there is no potential {name!r}",
            mend=f"did you mean {close}?"
            if close
            else f"choose from {', '.join(POTENTIALS)}, or wrap a calculator in AsePotential",
        )
    return POTENTIALS[name](torch.device(device))
