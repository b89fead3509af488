"""What is learned from the training values of one numeric column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.errors import DataError, SchemaError
from variolite.records.schema import Column
from variolite.records.transforms import FittedChain, fit_transform_chain

__all__ = ["FittedNumeric", "fit_numeric"]

Array = NDArray[np.float64]
_MOST_DECIMALS = 6


@dataclass(frozen=True)
class FittedNumeric:
    """One numeric column, fitted.

    Attributes
    ----------
    chain
        Original units to transformed units.
    clip
        Lowest and highest value let through to the chain, or None.
    bounds
        Training range to keep returned values within, or None.
    decimals
        Decimals to round returned values to, or None.
    """

    chain: FittedChain
    clip: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None
    decimals: int | None = None

    def clipped(self, values: Array) -> Array:
        return values if self.clip is None else np.clip(values, *self.clip)

    def count_clipped(self, values: Array) -> int:
        if self.clip is None:
            return 0
        return int(((values < self.clip[0]) | (values > self.clip[1])).sum())

    def evaluate(self, values: Array) -> tuple[Array, Array]:
        """Return transformed values and log-derivatives, both at the clipped values."""
        return self.chain.evaluate(self.clipped(values))

    def inverse(self, transformed: Array) -> Array:
        """Return to original units, within bounds and rounded where that was learned."""
        values = self.chain.inverse(transformed)
        if self.decimals is not None:
            values = np.round(values, self.decimals)
        return values if self.bounds is None else np.clip(values, *self.bounds)

    def to_dict(self) -> dict[str, Any]:
        return {
            "chain": self.chain.to_dict(),
            "clip": None if self.clip is None else list(self.clip),
            "bounds": None if self.bounds is None else list(self.bounds),
            "decimals": self.decimals,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FittedNumeric:
        decimals = data["decimals"]
        return cls(
            chain=FittedChain.from_dict(data["chain"]),
            clip=_pair(data["clip"]),
            bounds=_pair(data["bounds"]),
            decimals=None if decimals is None else int(decimals),
        )


def _pair(values: Any) -> tuple[float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]))


def fit_numeric(column: Column, values: Array) -> FittedNumeric:
    """Fit one column on training values, shape [n], NaN where missing.

    Raises
    ------
    SchemaError, DataError
        Naming the column, if it is never observed, constant, infinite, or impossible
        for its transform.
    """
    where = f"column {column.source or column.name!r}"
    present = values[~np.isnan(values)]
    if not present.size:
        raise SchemaError(
            "has no value in the training rows",
            where=where,
            mend="Leave it out of the schema, or check its sentinels and valid range",
        )
    infinite = int(np.isinf(present).sum())
    if infinite:
        raise DataError(
            f"holds {infinite} infinite values in the training rows",
            where=where,
            mend="Give it a valid range, such as 'valid: [0, 10]', to count them as missing",
        )
    if present.min() == present.max():
        raise SchemaError(
            f"is {present[0]:g} in every training row, and nothing can be learned from it",
            where=where,
            mend="Leave it out of the schema",
        )
    clip = None
    if column.clip is not None:
        low, high = np.quantile(present, column.clip)
        clip = (float(low), float(high))
        if low == high:
            raise SchemaError(
                f"is {low:g} in every training row once clipped to the quantiles {column.clip}",
                where=where,
                mend="Widen or remove its 'clip'",
            )
    fitted = FittedNumeric(FittedChain(), clip)
    try:
        chain = fit_transform_chain(column.transform, fitted.clipped(present))
    except SchemaError as error:
        raise SchemaError(error.what, where=where, mend=error.mend) from None
    return FittedNumeric(
        chain=chain,
        clip=clip,
        bounds=(float(present.min()), float(present.max())) if column.learn_bounds else None,
        decimals=_decimals(present) if column.learn_rounding else None,
    )


def _decimals(values: Array) -> int | None:
    """Return the fewest decimals that spell every value, None when more than six."""
    for decimals in range(_MOST_DECIMALS + 1):
        # float32 tables hold 1.7815 as 1.78149998: equal to single precision.
        if np.allclose(np.round(values, decimals), values, rtol=1e-6, atol=1e-9):
            return decimals
    return None
