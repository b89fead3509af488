"""From latent points to columns in original units."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from variolite.training import TabularModel

__all__ = ["decode"]

ROWS_AT_ONCE = 8_192


@torch.no_grad()
def decode(
    model: TabularModel, z: NDArray[Any], condition: NDArray[np.float32] | None
) -> dict[str, NDArray[Any]]:
    """Decode latent points with a model of one member.

    Parameters
    ----------
    model
        The model.
    z
        Shape (n, L).
    condition
        Shape (n, K); None stands for zeros, the mean condition of the training rows.

    Returns
    -------
    dict
        By table column, in the order of the schema, each of shape (n,): the median of
        numeric columns, the most probable level of categories.
    """
    width = model.module.architecture.condition
    if condition is None:
        condition = np.zeros((len(z), width), dtype=np.float32)
    device = next(model.module.parameters()).device
    points = torch.from_numpy(np.ascontiguousarray(z, dtype=np.float32)).to(device)
    told = torch.from_numpy(condition).to(device)
    centres, codes = [], []
    for start in range(0, len(z), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        joint = model.module.generate(points[None, part], told[None, part] if width else None)
        if joint.numeric is not None:
            # The transforms increase: the centre of a symmetric density becomes the median.
            centres.append(joint.numeric.mean[0])
        codes.append([column.logits[0].argmax(dim=-1) for column in joint.categories])
    schema = model.schema
    values: dict[str, NDArray[Any]] = {}
    if centres:
        original = schema.inverse(torch.cat(centres).double().cpu().numpy())
        values |= {name: original[:, i] for i, name in enumerate(schema.numeric_names)}
    for i, (name, levels) in enumerate(schema.category_levels.items()):
        drawn = torch.cat([part[i] for part in codes]).cpu().numpy()
        values[name] = np.asarray(levels, dtype=object)[drawn]
    return {str(column.source): values[column.name] for column in schema.schema.inputs}
