"""Rows of a table on the device of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.records import Records

EVALUATION_ROWS = 8_192


@dataclass(frozen=True)
class Batch:
    """Rows on the device of the model: all of a table, or those of one step.

    Columns have the shape (M or 1, B, columns), 1 where all members see the same rows; the
    optional ones are None where there are no such columns, ``observed`` where all values are,
    ``visible`` where the encoder sees all that was observed.
    """

    numeric: Tensor  # transformed values, 0 where missing
    observed: Tensor | None  # True where a numeric value was measured
    category: Tensor | None  # level codes, -1 where missing
    condition: Tensor | None
    # Standard normal draws for the posterior, (M, B, L); empty for uses of its mean.
    noise: Tensor = field(default_factory=lambda: torch.empty(0))
    generators: Sequence[torch.Generator] = ()  # one per member where dropout is on
    sets: tuple[Tensor, ...] = ()  # codes of members, -1 behind the last
    context: Tensor | None = None  # what the encoder sees of the rows around
    row: Tensor | None = None  # number of each row in the table trained on, (M, B)
    visible: Tensor | None = None  # True where a value was observed and is not hidden

    @classmethod
    def of(cls, records: Records, device: torch.device) -> Batch:
        """Copy records to a device once."""

        def put(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(device).unsqueeze(0)

        return cls(
            numeric=put(records.numeric),
            observed=None if records.observed.all() else put(records.observed),
            category=put(records.category) if records.category.shape[1] else None,
            condition=put(records.condition) if records.condition.shape[1] else None,
            sets=tuple(put(codes) for codes in records.sets.values()),
            context=None if records.context is None else put(records.context),
        )

    def __len__(self) -> int:
        return self.numeric.shape[1]

    def gather(
        self, index: Tensor, noise: Tensor, generators: Sequence[torch.Generator] = ()
    ) -> Batch:
        """Copy rows that all members share in the order of ``index``, (M, b)."""

        def pick(values: Tensor) -> Tensor:
            # One selection of M * b rows is quicker than M of b.
            chosen = values[0].index_select(0, index.reshape(-1))
            return chosen.view(*index.shape, values.shape[2])

        return self._changed(pick, noise, generators)

    def chunks(self, rows: int | None = None) -> Iterator[Batch]:
        """Yield the rows in order, at most ``rows`` or `EVALUATION_ROWS` at once; no copy."""
        rows = rows or EVALUATION_ROWS
        for start in range(0, len(self), rows):
            cut = itemgetter((slice(None), slice(start, start + rows)))
            noise = cut(self.noise) if self.noise.dim() > 1 else self.noise
            yield self._changed(cut, noise, self.generators)

    def _changed(
        self,
        change: Callable[[Tensor], Tensor],
        noise: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Batch:
        optional = ("observed", "category", "condition", "context", "visible", "row")
        values = ((name, getattr(self, name)) for name in optional)
        return Batch(
            numeric=change(self.numeric),
            noise=noise,
            generators=generators,
            sets=tuple(change(codes) for codes in self.sets),
            **{name: None if value is None else change(value) for name, value in values},
        )
