"""Recipes of frameworks: table recipes with a choice of prior and of what is known of linkers."""

from __future__ import annotations

from typing import Literal

from variolite.recipe import Recipe


class FrameworkRecipe(Recipe):
    """A run on a table of frameworks.

    ``prior`` is that of new rows: ``mixture`` is fitted to the latents and the conditions of
    the training rows, ``standard`` is N(0, I). With ``linker_features`` linkers are known by
    their fragments and descriptors too, and not by name alone.
    """

    kind: Literal["frameworks"] = "frameworks"  # type: ignore[assignment]
    prior: Literal["standard", "mixture"] = "mixture"
    linker_features: bool = True
