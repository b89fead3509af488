"""A property head as tensors and a JSON-able description, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variolite.crystals.latent.properties import LEVELS, PropertyHead, PropertyScore
from variolite.crystals.latent.regression import FOLDS, network_outputs
from variolite.errors import ModelFileError

__all__ = ["FORMAT", "head_from", "head_state"]

FORMAT = 1
KIND = "crystal property head"


def head_state(head: PropertyHead) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a head apart into tensors and a JSON-able description."""
    tensors = {name: torch.from_numpy(getattr(head, name).copy()) for name in _ARRAYS}
    tensors |= {f"networks/{name}": value for name, value in head.networks.items()}
    return tensors, {
        "kind": KIND,
        "format": FORMAT,
        "names": list(head.names),
        "units": list(head.units),
        "elements": list(head.elements),
        "scores": {name: dict(vars(score)) for name, score in head.scores.items()},
    }


_ARRAYS = (
    "location",
    "scale",
    "means",
    "deviations",
    "ridges",
    "is_network",
    "errors",
)


def head_from(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> PropertyHead:
    """Put a head together again.

    Raises
    ------
    ModelFileError
        If the parts are of something else, newer, or do not fit each other.
    """
    if description.get("kind") != KIND or description.get("format") != FORMAT:
        raise ModelFileError(
            "this is not a property head that this version reads",
            where="properties",
            mend="upgrade variolite, or fit the properties again",
        )
    try:
        arrays = {name: tensors[name].numpy() for name in _ARRAYS}
        networks = {
            name.removeprefix("networks/"): value
            for name, value in tensors.items()
            if name.startswith("networks/")
        }
        head = PropertyHead(
            names=tuple(str(name) for name in description["names"]),
            units=tuple(str(unit) for unit in description["units"]),
            elements=tuple(int(number) for number in description["elements"]),
            networks=networks,
            scores={
                str(name): PropertyScore(**score) for name, score in description["scores"].items()
            },
            **arrays,
        )
        width, number = len(head.location), len(head.names)
        expected = {
            "location": (width,),
            "scale": (width,),
            "means": (number,),
            "deviations": (number,),
            "ridges": (FOLDS, width + 1, number),
            "is_network": (number,),
            "errors": (len(LEVELS), number),
        }
        wrong = [name for name, shape in expected.items() if arrays[name].shape != shape]
        if wrong or len(head.units) != number or set(head.scores) != set(head.names):
            raise ModelFileError(f"the property head does not fit together: {wrong or 'names'}")
        if network_outputs(networks, np.zeros((1, width))).shape != (FOLDS, 1, number):
            raise ModelFileError("the network of the property head has another shape")
    except ModelFileError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelFileError(
            f"the property head does not hold together ({error!r:.200})", where="properties"
        ) from None
    return head
