"""The Recipe: everything that decides a run, typed, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from variolite.records import Column, Schema

Positive = Annotated[int, Field(ge=1)]
AtLeastTwo = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0)]


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConstantBeta(Spec):
    """The same beta throughout."""

    kind: Literal["constant"] = "constant"
    value: Weight = 1.0


class LinearBeta(Spec):
    """A straight line from start to end over the given epochs, then end."""

    kind: Literal["linear"] = "linear"
    start: Weight = 0.0
    end: Weight = 1.0
    epochs: Positive = 10


class SigmoidBeta(Spec):
    """An S-curve from start to end over the given epochs, then end."""

    kind: Literal["sigmoid"] = "sigmoid"
    start: Weight = 0.0
    end: Weight = 1.0
    epochs: Positive = 10
    steepness: Annotated[float, Field(ge=0.01, le=1000.0)] = 10.0


class CyclicalBeta(Spec):
    """Ramps from start to end, again and again (Fu et al. 2019).

    ``epochs`` is the length of one cycle, of which the share ``rise`` climbs
    and the rest stays at ``end``.
    """

    kind: Literal["cyclical"] = "cyclical"
    start: Weight = 0.0
    end: Weight = 1.0
    epochs: Positive = 10
    cycles: Positive = 4
    rise: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5


Schedule = Annotated[
    ConstantBeta | LinearBeta | SigmoidBeta | CyclicalBeta, Field(discriminator="kind")
]


class ModelSpec(Spec):
    """Network and likelihood.

    ``sigma2`` is the noise variance of the decoder in transformed
    (unit-variance) units and belongs to ``variance: fixed`` alone. Sources that
    minimise squared error + beta_s * KL, both summed over columns, mean
    sigma2 = beta_s / 2 at beta 1.
    """

    latent: Positive = 10
    encoder: tuple[Positive, ...] = (32, 16)
    decoder: tuple[Positive, ...] = (16, 32)
    norm: Literal["none", "layer"] = "none"
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    likelihood: Literal["gaussian", "student_t"] = "gaussian"
    variance: Literal["fixed", "feature", "row"] = "feature"
    sigma2: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _sigma2_with_fixed_variance(self) -> Self:
        if (self.variance == "fixed") != (self.sigma2 is not None):
            raise ValueError(
                "sigma2 and variance: fixed go together: give both, or neither and let "
                "the model learn its noise"
            )
        return self


class PlateauSpec(Spec):
    """Multiply the learning rate by ``factor`` after ``patience`` epochs without gain."""

    factor: Share = 0.5
    patience: Positive = 5


class TrainingSpec(Spec):
    """How the model is trained. Every epoch count includes the warm-up of beta.

    ``decay`` cosine lets the learning rate rise for the first twentieth of the
    epochs and then fall to a hundredth along half a cosine. ``precision`` auto
    lets a crystal network round the factors of its matrix products to bfloat16
    while training, where the processor gains by it.
    """

    beta: Schedule = LinearBeta()
    epochs: Positive = 100
    batch_size: Positive | Literal["auto"] = "auto"
    learning_rate: Annotated[float, Field(gt=0.0)] | Literal["auto"] = "auto"
    plateau: PlateauSpec | None = None
    patience: Positive | None = 15
    min_gain: Weight = 1e-3
    gradient_clip: Annotated[float, Field(gt=0.0)] = 20.0
    decay: Literal["none", "cosine"] = "none"
    precision: Literal["auto", "float32"] = "auto"
    seed: Seed = 0
    engine: Literal["auto", "autograd"] = "auto"

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        beta = self.beta
        if isinstance(beta, ConstantBeta):
            return self
        cycles = beta.cycles if isinstance(beta, CyclicalBeta) else 1
        if beta.epochs * cycles >= self.epochs:
            raise ValueError(
                f"the beta schedule takes {beta.epochs * cycles} epochs but training stops at "
                f"{self.epochs}: beta would never hold its final value; raise epochs or "
                "shorten beta.epochs"
            )
        return self


class SplitSpec(Spec):
    """Held-out groups, as shares of the number of groups."""

    test: Share = 0.25
    validation: Share = 0.15
    stratify: bool = False
    seed: Seed = 0


class ClusteringSpec(Spec):
    """How latents become clusters. ``rule`` picks k from ``k`` without labels."""

    algorithm: Literal["kmeans", "gmm", "hdbscan"] = "gmm"
    k: Annotated[tuple[AtLeastTwo, ...], Field(min_length=1)] = (4, 6, 9, 12, 15, 18)
    rule: Literal["bic", "silhouette", "stability"] = "stability"
    minimum_label_rows: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _rule_fits_the_algorithm(self) -> Self:
        if self.rule == "bic" and self.algorithm == "kmeans":
            raise ValueError(
                "the rule bic needs a Gaussian mixture: set clustering.algorithm=gmm, or "
                "clustering.rule=silhouette"
            )
        return self


class BaseRecipe(Spec):
    """What recipes of every kind have; ``kind`` names the field that serves them.

    ``former_keys`` are keys of earlier versions, which are still read, with their names today.
    """

    former_keys: ClassVar[Mapping[str, str]] = {}

    kind: str
    name: str = ""
    title: str = ""
    description: str = ""

    def contents(self) -> dict[str, Any]:
        """Return all settings in plain types, as a recipe file holds them."""
        return self.model_dump(mode="json")


class Recipe(BaseRecipe):
    """A run, from the columns it needs to the clusters it ends with.

    ``columns`` are keyed by meaning (``bulk_density``); a table binds its own
    names to them through aliases or a mapping.
    """

    kind: Literal["tabular"] = "tabular"
    minimum_inputs: Positive = 1
    columns: dict[str, Column]
    split: SplitSpec = SplitSpec()
    model: ModelSpec = ModelSpec()
    training: TrainingSpec = TrainingSpec()
    clustering: ClusteringSpec = ClusteringSpec()

    @field_validator("columns", mode="before")
    @classmethod
    def _names_from_keys(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("columns maps each meaning to its settings")
        return {
            key: {"name": str(key), **(spec or {})}
            if spec is None or isinstance(spec, Mapping)
            else spec
            for key, spec in value.items()
        }

    @model_validator(mode="after")
    def _columns_make_a_table(self) -> Self:
        _ = self.table
        return self

    def contents(self) -> dict[str, Any]:
        """Return all settings in plain types; of a column only what differs from the defaults."""
        content = self.model_dump(mode="json", exclude={"columns"})
        content["columns"] = {name: column.to_spec() for name, column in self.columns.items()}
        return content

    @property
    def table(self) -> Schema:
        """The columns as a schema, ready to be bound to a table."""
        return Schema(columns=self.columns, minimum_inputs=self.minimum_inputs)
