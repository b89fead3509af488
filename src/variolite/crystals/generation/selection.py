"""Properties that are asked for: one regression chooses compositions, another predicts the result.

Selecting by a prediction also selects its errors, so that the same prediction would overstate the
result. The training compositions are therefore split into two halves. A head fitted on the first
chooses by composition; one fitted on the second, with latents, predicts what came out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.generation.conditions import Conditions, Floats
from variolite.crystals.generation.prior import LatentPrior
from variolite.crystals.generation.properties import (
    PropertyHead,
    composition_descriptors,
    fit_property_head,
    require_properties,
)
from variolite.crystals.generation.where import Where
from variolite.errors import DataError

DRAWS = 16  # compositions drawn for each crystal where a property is asked for


@dataclass(frozen=True)
class Selection:
    """Two heads of the same properties, fitted on disjoint compositions."""

    chooser: PropertyHead
    independent: PropertyHead

    def propose(self, prior: LatentPrior, number: int, where: Where, **settings: Any) -> Conditions:
        """Propose as the prior does, `DRAWS` times for each of ``number`` crystals; keep the best.

        That is where the predictions are nearest to what is asked for, in standard deviations of
        the training crystals. Nothing is chosen where a formula or no property is asked for.
        """
        asked = list(self._asked(prior, where))
        if not asked or where.formula is not None:
            return prior.propose(number, where, **settings)
        # What is given for every crystal holds for each of its draws.
        each: dict[str, Any] = {
            name: np.repeat(value, DRAWS) if np.ndim(value) else value
            for name, value in settings.items()
        }
        drawn = prior.propose(number * DRAWS, where, **each)
        elements = self.chooser.about.elements
        rows = composition_descriptors(drawn.offsets, drawn.species, elements)
        predicted = self.chooser.predict_rows(rows).values
        off = [(predicted[:, own] - value) / scale for own, value, scale in asked]
        best = np.sum(np.square(off), axis=0).reshape(number, DRAWS).argmin(axis=1)
        return drawn.take(np.arange(number) * DRAWS + best)

    def require_possible(self, prior: LatentPrior, where: Where) -> None:
        """Raise a DataError if a value is asked for that is outside those of training crystals."""
        for own, value, _ in self._asked(prior, where):
            name = self.chooser.about.names[own]
            least, low, high, most = self.range_of(name)
            if not least <= value <= most:
                raise DataError(
                    f"{value:g} is outside the training crystals, which have {least:.3g} to "
                    f"{most:.3g}",
                    where=name,
                    hint=f"ask for a value from {low:.3g} to {high:.3g}, where most of them are",
                )

    def range_of(self, name: str) -> tuple[float, float, float, float]:
        """Least, usual and largest values of a property among the training crystals."""
        parts = [head.about.scores[name].quantiles for head in (self.chooser, self.independent)]
        least, low, high, most = np.array(parts).T
        return float(least.min()), float(low.mean()), float(high.mean()), float(most.max())

    def evaluate(
        self, prior: LatentPrior, where: Where, latents: Latents, crystals: Crystals
    ) -> tuple[dict[str, Floats], list[str]]:
        """Predict the properties asked for by the independent head.

        Returns values (B,) by name, and for each a line that compares them with what was asked for.
        """
        found = self.independent.predict(latents, crystals.species)
        values, lines = {}, []
        for own, value, _ in self._asked(prior, where):
            name, score = found.names[own], self.independent.about.scores[found.names[own]]
            values[name] = found.values[:, own]
            unit = "" if found.units[own] == "1" else f" {found.units[own]}"
            low, middle, high = np.quantile(values[name], [0.1, 0.5, 0.9])
            inside = (found.low[:, own] <= value) & (value <= found.high[:, own])
            line = (
                f"{name}: {value:g}{unit} was asked for; an independent regression, which chose "
                f"nothing, predicts {middle:.3g}{unit} in the median ({low:.3g} to {high:.3g} for "
                f"80%), and for {inside.mean():.0%} what was asked for lies in its "
                f"{found.level:.0%} interval (its mean error is {score.error:.2g}{unit})"
            )
            if score.error >= score.baseline:
                line = (
                    f"{name}: {value:g}{unit} was asked for, but whether these crystals have it is "
                    f"not known: regressions predict it no better (mean error {score.error:.2g}"
                    f"{unit}) than the median of the training crystals ({score.baseline:.2g}{unit})"
                )
            lines.append(line)
        return values, lines

    def _asked(self, prior: LatentPrior, where: Where) -> Iterator[tuple[int, float, float]]:
        """Places of the properties asked for in the heads, their values and scales."""
        known = prior.vocabulary
        for name, value, scale in zip(known.properties, where.properties, known.scale, strict=True):
            if np.isfinite(value) and name in self.chooser.about.names:
                yield self.chooser.about.names.index(name), float(value), scale


def fit_selection(
    latents: Latents,
    crystals: Crystals,
    properties: Sequence[str],
    *,
    units: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Selection | None:
    """Fit both heads to training crystals and their latents; None where a half has too few values.

    A property that has too few in a half is left out.
    """
    _, formula = np.unique(reduced_formulas(crystals), return_inverse=True)
    half = np.random.default_rng((seed, 6)).permutation(int(formula.max()) + 1)[formula] % 2
    first, second = (crystals.take(half == which) for which in (0, 1))
    usable = [name for name in properties if _enough(first, name) and _enough(second, name)]
    if not usable:
        return None
    atoms = crystals.atoms_of(np.flatnonzero(half == 1))
    own = Latents(latents.mean[atoms], None, second.offsets, second.names)
    chooser = fit_property_head(None, first, usable, units=units, seed=seed)
    return Selection(chooser, fit_property_head(own, second, usable, units=units, seed=seed + 1))


def _enough(crystals: Crystals, name: str) -> bool:
    try:
        require_properties(crystals, (name,))
    except DataError:
        return False
    return True
