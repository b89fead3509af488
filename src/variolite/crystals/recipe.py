"""The recipe of a crystal VAE: network, weights of the objective, training and prior."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from variolite.recipe.loading import load_recipe
from variolite.recipe.spec import (
    BaseRecipe,
    Positive,
    Seed,
    Share,
    Spec,
    TrainingSpec,
    Weight,
)


class CrystalArchitecture(Spec):
    """Sizes of the crystal VAE: two transformers over atoms in the canonical frame.

    ``latent`` dimensions stand for an atom, whose coordinates enter with ``fourier_features``
    for each axis. ``given`` names what the decoder is given instead of decoding it.
    """

    latent: Positive = 16
    width: Positive = 128
    heads: Positive = 4
    feedforward: Positive = 256
    encoder_layers: Positive = 3
    decoder_layers: Positive = 3
    fourier_features: Positive = 4
    given: tuple[Literal["species"], ...] = ()

    @property
    def species_given(self) -> bool:
        """Whether the decoder is given the elements."""
        return "species" in self.given

    @model_validator(mode="before")
    @classmethod
    def _of_one_kind(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "kind" not in values:
            return values
        if values["kind"] != "transformer":
            raise ValueError(
                f"there is no network of kind {values['kind']!r}, only the transformer: take kind "
                "away (crystals/source has the published settings)"
            )
        return {key: value for key, value in values.items() if key != "kind"}

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class LossWeights(Spec):
    """Weights of the objective.

    ``reconstruction`` (lambda_1) multiplies the sum of ``species`` (nats per
    atom), ``coordinates`` (squared fractional distance) and ``lattice`` (squared
    standard deviations), each with its own weight; ``kl`` (lambda_2) the KL in nats
    per atom; ``alignment`` (lambda_3) the foundation alignment.
    """

    reconstruction: Weight = 1.0
    kl: Weight = 1e-3
    alignment: Weight = 0.0
    species: Weight = 1.0
    coordinates: Weight = 100.0
    lattice: Weight = 3.0


class CrystalSplitSpec(Spec):
    """Held-out groups of crystals, as shares of the structures.

    ``by`` formula, chemical system, prototype (space group, anonymous formula and
    number of atoms), or random: every structure by itself. ``test`` 0 holds none out.
    """

    by: Literal["formula", "system", "prototype", "random"] = "formula"
    test: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    validation: Share = 0.1
    seed: Seed = 0


REMOVED_PRIORS = ("mixture", "diffusion")
"""Kinds of priors that earlier versions had; in the same time a flow makes better crystals."""


class PriorSpec(Spec):
    """The flow over latents that is fitted after training, for `variolite generate`."""

    kind: Literal["none", "flow"] = "flow"
    width: Positive = 128
    layers: Positive = 6
    heads: Positive = 4
    epochs: Positive = 100
    batch_size: Positive = 32
    learning_rate: Annotated[float, Field(gt=0.0)] = 5e-3

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, content: Any, info: ValidationInfo) -> Any:
        if not isinstance(content, Mapping):
            return content
        if content.get("kind") in REMOVED_PRIORS:
            if not (info.context or {}).get("stored"):
                raise ValueError(
                    f"the {content['kind']} prior was removed: set prior.kind=flow; a finished run "
                    "gets one by `variolite crystals prior RUN --data PATH --set prior.kind=flow`"
                )
            content = {**content, "kind": "none"}
        # Earlier versions wrote the sizes of a mixture into every recipe, also beside a flow.
        sizes = {"crystals", "atoms"}
        return {k: v for k, v in content.items() if k not in sizes or not sizes <= content.keys()}


class CrystalRecipe(BaseRecipe):
    """A run on crystals, from the structures to the prior that new ones are drawn from.

    ``properties`` are columns of the data that the prior is conditioned on and that
    are predicted from the latents.
    """

    former_keys: ClassVar[Mapping[str, str]] = {
        "loss.divergence": "kl",
        "model.waves": "fourier_features",
    }

    kind: Literal["crystals"] = "crystals"
    properties: tuple[str, ...] = ()
    split: CrystalSplitSpec = CrystalSplitSpec()
    model: CrystalArchitecture = CrystalArchitecture()
    loss: LossWeights = LossWeights()
    training: TrainingSpec = TrainingSpec()
    prior: PriorSpec = PriorSpec()


def load_crystal_recipe(name: str | Path, overrides: Iterable[str] = ()) -> CrystalRecipe:
    """Load a recipe for crystals; see `variolite.recipe.load_recipe`."""
    return load_recipe(name, overrides, CrystalRecipe)
