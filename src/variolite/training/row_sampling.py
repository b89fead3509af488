"""Drawing rows from a likelihood, and the options that change what is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from variolite.errors import DataError
from variolite.records import FittedSchema
from variolite.vae import Joint

COLDEST = 1e-6  # colder ones leave the range of single precision


@dataclass(frozen=True)
class SamplingOptions:
    """How rows are drawn; the defaults reproduce the data.

    ``temperature`` T raises every distribution to the power 1 / T: logits are divided by it, the
    spread of numbers is multiplied by its root. ``balance`` B is for who draws whole rows: they
    are kept by how seldom their kind is drawn, to the power B. 0 leaves the long tail as it is, 1
    shows rare kinds at least as often as the others.
    """

    temperature: float = 1.0
    balance: float = 0.0

    def __post_init__(self) -> None:
        if not COLDEST <= self.temperature <= 1.0 / COLDEST:
            what = f"the temperature must lie between {COLDEST:g} and {1.0 / COLDEST:g}"
            what += f", not {self.temperature:g}"
            raise DataError(what, where="--temperature", hint="1 draws from the model as it is")
        if not 0.0 <= self.balance <= 1.0:
            what = f"the balance must lie between 0 and 1, not {self.balance:g}"
            raise DataError(what, where="--balance", hint="0 draws from the model as it is")


AS_TRAINED = SamplingOptions()


def draw_rows(
    schema: FittedSchema,
    likelihood: Joint,
    generator: torch.Generator,
    options: SamplingOptions = AS_TRAINED,
) -> dict[str, NDArray[Any]]:
    """Draw one row of every distribution (1, n): column to values (n,), original units.

    Sets are texts, their members in the order of the alphabet.
    """
    columns: dict[str, NDArray[Any]] = {}
    if likelihood.numeric is not None:
        centre = likelihood.numeric.mean
        drawn = likelihood.numeric.sample(generator)
        if options.temperature != 1.0:
            drawn = centre + (drawn - centre) * options.temperature**0.5
        values = schema.inverse(drawn[0].double().numpy())
        columns |= {name: values[:, i] for i, name in enumerate(schema.numeric_names)}
    for name, category in zip(schema.category_names, likelihood.categories, strict=True):
        spellings = np.asarray(schema.category_levels[name])
        chances = torch.softmax(category.logits[0] / options.temperature, dim=-1)
        drawn = torch.multinomial(chances, 1, generator=generator)[:, 0]
        columns[name] = spellings[drawn.numpy()]
    for name, members in zip(schema.set_names, likelihood.sets, strict=True):
        codes = members.sample(generator, temperature=options.temperature)[0].numpy()
        separator = schema.schema.columns[name].separator
        levels = schema.levels[name]
        texts = [separator.join(sorted(levels[c] for c in row if c >= 0)) for row in codes]
        columns[name] = np.array(texts)
    return columns
