"""A fitted prior as tensors and a JSON-able description, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.evaluation.contacts import Contacts
from variolite.crystals.latent.atom_counts import AtomCounts
from variolite.crystals.latent.composition_network import CompositionNetwork
from variolite.crystals.latent.field import FieldDensity, load_exactly
from variolite.crystals.latent.known import Vocabulary
from variolite.crystals.latent.mixture import MixtureDensity
from variolite.crystals.latent.prior import Density, LatentPrior
from variolite.crystals.latent.standardise import LatentStatistics
from variolite.errors import ModelFileError, VarioliteError

__all__ = ["FORMAT", "prior_from", "prior_state"]

FORMAT = 1
KIND = "crystal latent prior"

_PARTS = ("statistics", "counts", "contacts", "compositions", "density")


def prior_state(prior: LatentPrior) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a prior apart.

    Returns
    -------
    tensors
        By name, on the CPU.
    description
        JSON-able; `prior_from` needs both.
    """
    density = prior.density
    sizes: dict[str, Any] = {}
    parts: dict[str, dict[str, Tensor]] = {
        "statistics": _tensors(prior.statistics.to_arrays()),
        "counts": _tensors(prior.counts.to_arrays()),
        "contacts": _tensors({"distances": prior.contacts.distances.astype(np.float32)}),
        "compositions": {
            name: value.detach().cpu() for name, value in prior.compositions.state_dict().items()
        },
    }
    if isinstance(density, FieldDensity):
        parts["density"] = density.to_tensors()
        sizes = density.description()
    elif isinstance(density, MixtureDensity):
        parts["density"] = _tensors(density.to_arrays())
    else:
        raise TypeError(f"a density of type {type(density).__name__} cannot be stored")
    tensors = {
        f"{part}/{name}": value.contiguous()
        for part, named in parts.items()
        for name, value in named.items()
    }
    return tensors, {
        "kind": KIND,
        "format": FORMAT,
        "density": density.kind,
        "sizes": sizes,
        "vocabulary": prior.vocabulary.to_dict(),
        "volumes": list(prior.volumes),
        "provenance": dict(prior.provenance),
    }


def prior_from(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> LatentPrior:
    """Put a prior together again, on the CPU.

    Raises
    ------
    ModelFileError
        If the description is of something else or newer, or if anything is missing,
        foreign, of a wrong shape or not finite.
    """
    if description.get("kind") != KIND:
        raise ModelFileError("this is not the description of a latent prior", where="prior")
    number = description.get("format")
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise ModelFileError(
            f"the prior has format {number!r:.40}, this version reads 1 to {FORMAT}",
            where="prior",
            mend="upgrade variolite",
        )
    try:
        return _put_together(tensors, description)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        what = error.what if isinstance(error, VarioliteError) else repr(error)
        raise ModelFileError(
            f"the prior does not hold together ({' '.join(what.split())[:200]})",
            where="prior",
            mend="fit the prior again, or copy the model folder again",
        ) from None


def _put_together(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> LatentPrior:
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        if part not in parts:
            raise ModelFileError(f"unexpected tensor {name}")
        # The KL of latents without variances is not known, and nothing else may be missing.
        if value.is_floating_point() and rest != "divergence" and not value.isfinite().all():
            raise ModelFileError(f"tensor {name} holds values that are not finite")
        parts[part][rest] = value
    vocabulary = Vocabulary.from_dict(description["vocabulary"])
    statistics = LatentStatistics.from_arrays(_arrays(parts["statistics"]))
    counts = AtomCounts.from_arrays(_arrays(parts["counts"]))
    if counts.largest != vocabulary.largest or len(counts.means) != len(vocabulary.properties):
        raise ModelFileError("the model of the number of atoms is that of other crystals")
    with torch.random.fork_rng(devices=[]):
        compositions = CompositionNetwork(
            len(vocabulary.elements), len(vocabulary.properties), vocabulary.largest
        )
    load_exactly(compositions, parts["compositions"], "the model of compositions")
    density = _DENSITIES[description["density"]](
        parts["density"], {**description["sizes"], "kind": description["density"]}, vocabulary
    )
    latent = len(statistics.location)
    if density.latent != latent:
        raise ModelFileError(f"the density has {density.latent} dimensions, the latents {latent}")
    low, high = (float(volume) for volume in description["volumes"])
    if not 0.0 < low <= high:
        raise ModelFileError(f"volumes per atom from {low} to {high} are impossible")
    return LatentPrior(
        vocabulary,
        statistics,
        counts,
        compositions.eval(),
        density,
        (low, high),
        _contacts(parts["contacts"], vocabulary),
        dict(description["provenance"]),
    )


def _contacts(tensors: Mapping[str, Tensor], vocabulary: Vocabulary) -> Contacts:
    distances = tensors["distances"].numpy()
    elements = np.array(vocabulary.elements, dtype=np.int64)
    if distances.shape != (len(elements), len(elements)) or not (distances > 0.0).all():
        raise ModelFileError("the distances between elements are none, or those of others")
    return Contacts(elements, distances.astype(np.float64))


def _field(
    tensors: Mapping[str, Tensor], sizes: Mapping[str, Any], vocabulary: Vocabulary
) -> Density:
    if (sizes["elements"], sizes["properties"]) != (
        len(vocabulary.elements),
        len(vocabulary.properties),
    ):
        raise ModelFileError("the network of the prior is that of other crystals")
    return FieldDensity.rebuild(sizes["kind"], sizes, tensors, vocabulary)


def _mixture(
    tensors: Mapping[str, Tensor], sizes: Mapping[str, Any], vocabulary: Vocabulary
) -> Density:
    del sizes
    return MixtureDensity.from_arrays(_arrays(tensors), vocabulary)


_DENSITIES: Mapping[
    str, Callable[[Mapping[str, Tensor], Mapping[str, Any], Vocabulary], Density]
] = {"flow": _field, "diffusion": _field, "mixture": _mixture}


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: value.numpy() for name, value in tensors.items()}
