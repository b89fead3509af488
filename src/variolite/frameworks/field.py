"""Frameworks as a field: what the commands do on their runs."""

from __future__ import annotations

from variolite.fields import Deferred
from variolite.frameworks.recipe import FrameworkRecipe


class FrameworkField:
    """See `variolite.fields.Field`."""

    kind = "frameworks"
    model_kind = "variolite.framework_vae"
    subject = "frameworks"
    recipe = FrameworkRecipe
    load_model = Deferred("variolite.training", "load_model")


FIELD = FrameworkField()
