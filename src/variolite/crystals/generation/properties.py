"""Numeric properties from latents, with intervals that hold for compositions never seen.

Two regressions are fitted in k folds, none of which shares a composition with another: a
ridge, and a small network; the better of the two is kept for each property. A prediction
is the mean over the models of the folds. Its interval is as wide as the errors on the
folds left out ask for (cross-conformal, V. Vovk, 2015).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.elements import (
    ELECTRONEGATIVITIES,
    HEAVIEST,
    MASSES,
    reduced_formulas,
)
from variolite.crystals.generation.regression import (
    FOLDS,
    FoldNetworks,
    fit_networks,
    fit_ridges,
    folds_by_group,
)
from variolite.errors import DataError, ModelFileError, nearest
from variolite.training.storage import fill

Floats = NDArray[np.float64]

LEVELS = np.linspace(0.005, 0.995, 199)
"""Levels at which the errors on folds left out are kept: a table, not the errors."""

FEWEST = 50
"""Crystals with a value that a property needs."""

_SCALES = np.stack(
    [
        np.arange(HEAVIEST + 1, dtype=np.float64),
        np.nan_to_num(ELECTRONEGATIVITIES, nan=float(np.nanmean(ELECTRONEGATIVITIES))),
        np.nan_to_num(MASSES),
    ],
    axis=1,
)
"""Atomic number, electronegativity and mass by atomic number, shape (119, 3)."""


def descriptor_width(latent: int, elements: int) -> int:
    """Numbers in one description."""
    return 3 * latent + 1 + 4 * len(_SCALES.T) + elements


def descriptors(
    latents: Latents, species: NDArray[np.integer], elements: tuple[int, ...]
) -> Floats:
    """Describe crystals.

    Parameters
    ----------
    latents
        Posterior means of B crystals.
    species
        Atomic numbers of their atoms, shape (N,).
    elements
        Atomic numbers whose fractions are part of the description.

    Returns
    -------
    ndarray of float64, shape (B, D)
        Mean, deviation and maximum of the latents over atoms; the logarithm of the
        number of atoms; mean, deviation, least and largest atomic number,
        electronegativity and mass; and the fractions of the elements.

    Raises
    ------
    DataError
        If species and latents differ in number, or there are no crystals.
    """
    if len(species) != len(latents.mean) or not len(latents):
        raise DataError(
            f"{len(species)} species do not fit the latents of {len(latents.mean)} atoms",
            where="properties",
        )
    counts = latents.counts[:, None].astype(np.float64)
    owner = np.repeat(np.arange(len(latents)), latents.counts)
    starts = latents.offsets[:-1]

    def moments(values: Floats) -> list[Floats]:
        mean = np.add.reduceat(values, starts, axis=0) / counts
        centred = (values - mean[owner]) ** 2
        return [mean, np.sqrt(np.add.reduceat(centred, starts, axis=0) / counts)]

    values, scales = latents.mean.astype(np.float64), _SCALES[species]
    fractions = np.zeros((len(latents), HEAVIEST + 1))
    np.add.at(fractions, (owner, species), 1.0)
    return np.concatenate(
        [
            *moments(values),
            np.maximum.reduceat(values, starts, axis=0),
            np.log(counts),
            *moments(scales),
            np.minimum.reduceat(scales, starts, axis=0),
            np.maximum.reduceat(scales, starts, axis=0),
            (fractions / counts)[:, list(elements)],
        ],
        axis=1,
    )


@dataclass(frozen=True)
class PropertyScore:
    """How well a property is predicted for compositions that were left out.

    Attributes
    ----------
    crystals
        Crystals with a value.
    model
        ``ridge`` or ``network``, whichever erred less.
    error
        Mean absolute error on folds left out, unit of the property.
    baseline
        That of the median of the other folds.
    """

    crystals: int
    model: str
    error: float
    baseline: float


@dataclass(frozen=True)
class Predicted:
    """Predictions for B crystals.

    Attributes
    ----------
    names, units
        Of the P properties.
    values, low, high
        Prediction and its interval, shape (B, P).
    level
        Fraction of new compositions whose value should lie in the interval.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: Floats
    low: Floats
    high: Floats
    level: float


@dataclass(frozen=True)
class PropertyHead:
    """Fitted regressions.

    Attributes
    ----------
    names, units
        Of the P properties.
    elements
        Elements whose fractions are part of the description.
    location, scale
        Of the descriptions, shape (D,).
    means, deviations
        Of the properties, shape (P,).
    ridges
        Coefficients and, last, constants for every fold, shape (K, D + 1, P).
    networks
        One for every fold.
    is_network
        Whether the network is used for a property, shape (P,).
    errors
        Absolute errors on folds left out at the levels `LEVELS`, shape (199, P).
    scores
        By name.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    elements: tuple[int, ...]
    location: Floats
    scale: Floats
    means: Floats
    deviations: Floats
    ridges: Floats
    networks: FoldNetworks
    is_network: NDArray[np.bool_]
    errors: Floats
    scores: Mapping[str, PropertyScore]

    def predict(
        self, latents: Latents, species: NDArray[np.integer], *, level: float = 0.9
    ) -> Predicted:
        """Predict properties.

        Parameters
        ----------
        latents
            Posterior means of B crystals.
        species
            Atomic numbers of their atoms, shape (N,).
        level
            Of the intervals.

        Raises
        ------
        DataError
            If latents are of another model, or the level is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise DataError(f"level is {level}, it must be between 0 and 1", where="properties")
        if descriptor_width(latents.mean.shape[1], len(self.elements)) != len(self.location):
            raise DataError(
                f"latents of {latents.mean.shape[1]} dimensions are not those that the "
                "properties were fitted on",
                where="properties",
            )
        rows = (descriptors(latents, species, self.elements) - self.location) / self.scale
        ridge = np.einsum("bd,kdp->bp", rows, self.ridges[:, :-1]) + self.ridges[:, -1].sum(0)
        chosen = ridge / len(self.ridges)
        if self.is_network.any():
            outputs = self.networks.outputs(rows).mean(axis=0)
            chosen = np.where(self.is_network, outputs, chosen)
        values = chosen * self.deviations + self.means
        half = np.array([np.interp(level, LEVELS, errors) for errors in self.errors.T])
        return Predicted(self.names, self.units, values, values - half, values + half, level)


def fit_property_head(
    latents: Latents,
    crystals: Crystals,
    properties: Sequence[str],
    *,
    units: Mapping[str, str] | None = None,
    seed: int = 0,
) -> PropertyHead:
    """Fit regressions to training crystals.

    Parameters
    ----------
    latents
        Posterior means of the crystals, in their order.
    crystals
        With the columns named in ``properties``; NaN where a value is missing.
    properties
        Names of numeric columns.
    units
        Unit of each, by name; "1" where not given.
    seed
        Of folds and networks.

    Raises
    ------
    DataError
        If a column is missing or has too few values, or latents and crystals differ.
    """
    if not np.array_equal(latents.offsets, crystals.offsets):
        raise DataError("latents and crystals of a property head differ", where="properties")
    if not properties:
        raise DataError("no property is named", where="properties")
    require_properties(crystals, properties)
    targets = np.stack([_column(crystals, name) for name in properties], axis=1)
    elements = tuple(int(number) for number in np.unique(crystals.species))
    rows = descriptors(latents, crystals.species, elements)
    location, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    rows = (rows - location) / scale
    known = np.isfinite(targets)
    means = np.nanmean(targets, axis=0)
    deviations = np.nanstd(targets, axis=0)
    deviations = np.where(deviations > 0.0, deviations, 1.0)
    scaled = (targets - means) / deviations
    fold = folds_by_group(reduced_formulas(crystals), FOLDS, seed)
    ridges, by_ridge = fit_ridges(rows, scaled, fold)
    networks = fit_networks(rows, scaled, fold, seed=seed)
    by_network = networks.outputs(rows)[fold, np.arange(len(rows))]
    errors, scores, is_network = [], {}, []
    for place, name in enumerate(properties):
        here = known[:, place]
        left_out = {
            kind: np.abs(found[here, place] - scaled[here, place]) * deviations[place]
            for kind, found in (("ridge", by_ridge), ("network", by_network))
        }
        kind = min(left_out, key=lambda kind: float(left_out[kind].mean()))
        middle = np.array([np.median(targets[here & (fold != k), place]) for k in range(FOLDS)])
        scores[name] = PropertyScore(
            crystals=int(here.sum()),
            model=kind,
            error=float(left_out[kind].mean()),
            baseline=float(np.abs(targets[here, place] - middle[fold[here]]).mean()),
        )
        is_network.append(kind == "network")
        errors.append(_conformal(left_out[kind]))
    return PropertyHead(
        tuple(properties),
        tuple((units or {}).get(name, "1") for name in properties),
        elements,
        location,
        scale,
        means,
        deviations,
        ridges,
        networks,
        np.array(is_network),
        np.stack(errors, axis=1),
        scores,
    )


def require_properties(crystals: Crystals, properties: Sequence[str]) -> None:
    """Say before a network is trained that a property head cannot be fitted afterwards.

    Raises
    ------
    DataError
        If a column is missing, holds no numbers or has too few values, or if all crystals
        have one composition.
    """
    for name in properties:
        _column(crystals, name)
    if properties and len(np.unique(reduced_formulas(crystals))) < 2:
        raise DataError(
            "all training crystals have the same composition, so that none can be left out to "
            "measure errors",
            where="properties",
            hint="leave properties out of the recipe, or give structures of other compositions",
        )


def _column(crystals: Crystals, name: str) -> Floats:
    values = crystals.properties.get(name)
    if values is None or values.dtype.kind not in "fiu":
        numeric = [n for n, found in crystals.properties.items() if found.dtype.kind in "fiu"]
        close = nearest(name, numeric)
        raise DataError(
            f"{name!r} is text, not numbers"
            if values is not None
            else f"the crystals have no numeric property {name!r}",
            where="properties",
            hint=f"did you mean {close}?"
            if close
            else f"they have: {', '.join(numeric) or 'none'}",
        )
    column = values.astype(np.float64)
    found = int(np.isfinite(column).sum())
    if found < FEWEST:
        raise DataError(
            f"{found} of {len(crystals)} training crystals have a value of {name!r}, at least "
            f"{FEWEST} are needed",
            where="properties",
            hint="leave it out, or give more structures that have it",
        )
    return np.where(np.isfinite(column), column, np.nan)


def _conformal(errors: Floats) -> Floats:
    """Errors at `LEVELS`, taken one rank up as the finite sample asks."""
    ordered = np.sort(errors)
    ranks = np.ceil(LEVELS * (len(ordered) + 1)).astype(int).clip(1, len(ordered))
    return np.asarray(ordered[ranks - 1])


# A property head as tensors and a JSON-able description, and back.


FORMAT = 1
KIND = "crystal property head"

_ARRAYS = ("location", "scale", "means", "deviations", "ridges", "is_network", "errors")


@dataclass(frozen=True)
class _Description:
    names: tuple[str, ...]
    units: tuple[str, ...]
    elements: tuple[int, ...]
    scores: dict[str, PropertyScore]


_DESCRIPTION = TypeAdapter(_Description)


def head_state(head: PropertyHead) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a head apart into tensors and a JSON-able description."""
    tensors = {name: torch.from_numpy(getattr(head, name).copy()) for name in _ARRAYS}
    weights = head.networks.state_dict()
    tensors |= {f"networks/{name}": value.clone() for name, value in weights.items()}
    description = _Description(head.names, head.units, head.elements, dict(head.scores))
    return tensors, {
        "kind": KIND,
        "format": FORMAT,
        **_DESCRIPTION.dump_python(description, mode="json"),
    }


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
            hint="upgrade variolite, or fit the properties again",
        )
    try:
        stored = _DESCRIPTION.validate_python(
            {part: description[part] for part in ("names", "units", "elements", "scores")}
        )
        arrays = {name: tensors[name].numpy() for name in _ARRAYS}
        width, number = len(arrays["location"]), len(stored.names)
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
        if wrong or len(stored.units) != number or set(stored.scores) != set(stored.names):
            raise ModelFileError(f"the property head does not fit together: {wrong or 'names'}")
        networks = FoldNetworks(width, number, torch.Generator())
        weights = {name: value for name, value in tensors.items() if name.startswith("networks/")}
        fill(
            networks,
            {name.partition("/")[2]: value for name, value in weights.items()},
            Path("properties"),
        )
    except ModelFileError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelFileError(
            f"the property head is damaged ({error!r:.200})", where="properties"
        ) from None
    parts: dict[str, Any] = {**vars(stored), **arrays, "networks": networks}
    return PropertyHead(**parts)
