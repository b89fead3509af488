"""Recipes of frameworks: a table recipe whose columns are those of `columns`."""

from __future__ import annotations

from typing import Literal

from variolite.recipe import Recipe


class FrameworkRecipe(Recipe):
    """A run on a table of frameworks."""

    kind: Literal["frameworks"] = "frameworks"  # type: ignore[assignment]
