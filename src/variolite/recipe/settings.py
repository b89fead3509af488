"""What a recipe holds: typed settings that decide a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from variolite.errors import RecipeError, nearest
from variolite.records import Column, DepthContext, Schema
from variolite.records.schema import BadHole

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
    sigma2 = beta_s / 2 at beta 1. ``shift`` group takes from the inputs what
    moves all rows of one group, such as the calibration of a well's tools;
    with ``drift``, in units of the order, it changes slowly along depth; auto
    leaves it in where what differs is the rock (`GroupShift.clarity`).
    ``context`` shows the encoder the rows around each row of a hole.

    ``encoders`` are groups of columns with an encoder each, joined by ``fusion``: concat
    gives each a share of the latent dimensions, product multiplies their Gaussians, so
    that what is missing drops out. ``decoders`` may be one by group or column as well;
    hidden widths are then of each. ``prior`` is the standard normal, a learned mixture of
    ``components``, or that of as many pseudo-inputs (VampPrior). ``missingness`` models
    which numeric values are observed as well, for values that are missing because of
    what they are.
    """

    latent: Positive = 10
    encoder: tuple[Positive, ...] = (32, 16)
    decoder: tuple[Positive, ...] = (16, 32)
    norm: Literal["none", "layer"] = "none"
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    likelihood: Literal["gaussian", "student_t"] = "gaussian"
    variance: Literal["fixed", "feature", "row"] = "feature"
    sigma2: Annotated[float, Field(gt=0.0)] | None = None
    shift: Literal["none", "group", "auto"] = "none"
    drift: Annotated[float, Field(gt=0.0)] | None = None
    context: DepthContext | None = None
    encoders: dict[str, tuple[str, ...]] = {}
    fusion: Literal["concat", "product"] = "concat"
    decoders: Literal["shared", "by_group", "by_column"] = "shared"
    prior: Literal["standard", "mixture", "vamp"] = "standard"
    components: AtLeastTwo = 10
    missingness: bool = False

    @model_validator(mode="after")
    def _encoders_divide_the_columns(self) -> Self:
        names = [name for group in self.encoders.values() for name in group]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is in more than one of encoders")
        if self.encoders and len(self.encoders) > self.latent and self.fusion == "concat":
            raise ValueError("every encoder needs a latent dimension: raise latent")
        if self.decoders == "by_group" and not self.encoders:
            raise ValueError("decoders: by_group needs encoders, which name the groups")
        return self

    @model_validator(mode="after")
    def _drift_of_a_shift(self) -> Self:
        if self.drift is not None and self.shift == "none":
            raise ValueError("drift is of a shift: set model.shift=group, or drift: null")
        return self

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


class MaskingSpec(Spec):
    """Observed values that a training step hides from the encoder, and asks the decoder for.

    ``kind`` value hides every value with the probability ``share``; sensor hides ``columns``, or
    one column at random, in that share of the rows; hole hides every column of every group with
    that probability, drawn again in each epoch. The ``likelihood`` is of all observed values, so
    that the network learns to infer what is hidden, or of the visible ones alone.
    """

    kind: Literal["value", "sensor", "hole"]
    share: Share
    columns: tuple[str, ...] = ()
    likelihood: Literal["observed", "visible"] = "observed"

    @model_validator(mode="after")
    def _columns_of_a_sensor(self) -> Self:
        if self.columns and self.kind != "sensor":
            raise ValueError("only masking of kind sensor takes columns")
        return self


class PretrainingSpec(Spec):
    """A first stage with the standard prior, in which all rows take part.

    For ``epochs`` the network sees and decodes only ``columns``; with each_encoder those of one
    of its encoders, drawn for every row; by default all.
    """

    epochs: AtLeastTwo
    columns: tuple[str, ...] | Literal["each_encoder"] = ()


class ContrastiveSpec(Spec):
    """Draws together the latents of one of ``clusters`` found by k-means, and others apart.

    ``weight`` is of the loss in nats per row, ``temperature`` divides cosine similarities.
    """

    weight: Annotated[float, Field(gt=0.0)] = 1.0
    temperature: Annotated[float, Field(gt=0.0)] = 0.5
    clusters: AtLeastTwo = 12


class GuidanceSpec(Spec):
    """Cross entropy of a label head, on the labels of a ``share`` of the training groups alone.

    ``weight`` is of the cross entropy in nats per labelled row.
    """

    weight: Annotated[float, Field(gt=0.0)] = 1.0
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2


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
                "shorten training.beta.epochs"
            )
        return self


class TableTrainingSpec(TrainingSpec):
    """How a model of tables is trained.

    ``rows_per_epoch`` is the most rows of one epoch, drawn again for each.
    """

    rows_per_epoch: Positive | None = None
    masking: MaskingSpec | None = None
    pretraining: PretrainingSpec | None = None
    contrastive: ContrastiveSpec | None = None
    guidance: GuidanceSpec | None = None


class SplitSpec(Spec):
    """Held-out groups, as shares of the number of groups."""

    test: Share = 0.25
    validation: Share = 0.15
    stratify: bool = False
    seed: Seed = 0


class ClusteringSpec(Spec):
    """How latents become clusters. ``rule`` picks k from ``k`` without labels.

    ``algorithm`` prior takes the components of the prior for clusters; hmm is a
    hidden Markov model along depth, with k by the silhouette of the k-means
    that it starts from.
    """

    algorithm: Literal["kmeans", "gmm", "hdbscan", "hmm", "prior"] = "gmm"
    k: Annotated[tuple[AtLeastTwo, ...], Field(min_length=1)] = (4, 6, 9, 12, 15, 18)
    rule: Literal["bic", "silhouette", "stability"] = "stability"
    minimum_label_rows: Annotated[int, Field(ge=0)] = 0

    def ks_below(self, rows: int) -> tuple[int, ...]:
        """Return the numbers of clusters that so many rows allow; RecipeError where there is none.

        HDBSCAN and the prior find or have theirs already: all are returned.
        """
        if self.algorithm in ("hdbscan", "prior"):
            return self.k
        allowed = tuple(k for k in self.k if k < rows)
        if not allowed:
            what = f"{rows:,} training rows are too few for {min(self.k):,} clusters"
            hint = "set smaller numbers, such as --set clustering.k=[2,3]"
            raise RecipeError(what, where="clustering.k", hint=hint)
        return allowed

    @model_validator(mode="after")
    def _rule_fits_the_algorithm(self) -> Self:
        if self.rule == "bic" and self.algorithm in ("kmeans", "hmm"):
            raise ValueError(
                "the rule bic needs a Gaussian mixture: set clustering.algorithm=gmm, or "
                "clustering.rule=silhouette"
            )
        if self.rule != "silhouette" and self.algorithm == "hmm":
            raise ValueError(
                f"the rule {self.rule} does not go with a hidden Markov model: set "
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
    names to them through aliases or a mapping. ``guided`` learns the classes of
    the first label column too, from groups that have labels.
    """

    kind: Literal["tabular"] = "tabular"
    minimum_inputs: Positive = 1
    rows: str | None = None
    bad_hole: BadHole | None = None
    nulls: tuple[str, ...] = ()
    columns: dict[str, Column]
    split: SplitSpec = SplitSpec()
    model: ModelSpec = ModelSpec()
    training: TableTrainingSpec = TableTrainingSpec()
    clustering: ClusteringSpec = ClusteringSpec()
    guided: bool = False

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

    @model_validator(mode="after")
    def _clusters_of_a_mixture(self) -> Self:
        if self.clustering.algorithm == "prior" and self.model.prior == "standard":
            raise ValueError("clustering.algorithm prior needs model.prior mixture or vamp")
        return self

    @model_validator(mode="after")
    def _settings_name_columns(self) -> Self:
        masking, pretraining = self.training.masking, self.training.pretraining
        named: dict[str, Sequence[str]] = {"training.masking": masking.columns if masking else ()}
        if pretraining and pretraining.columns == "each_encoder":
            if not self.model.encoders:
                raise ValueError("training.pretraining.columns each_encoder needs model.encoders")
        elif pretraining:
            named["training.pretraining"] = pretraining.columns
        named |= {f"model.encoders.{group}": own for group, own in self.model.encoders.items()}
        for key, names in named.items():
            for name in names:
                if name not in self.columns:
                    close = nearest(name, self.columns)
                    hint = f"; did you mean {close}?" if close else ""
                    raise ValueError(f"{key} names no column of the recipe: {name}{hint}")
        return self

    def contents(self) -> dict[str, Any]:
        """Return all settings in plain types; of a column only what differs from the defaults."""
        content = self.model_dump(mode="json", exclude={"columns"})
        content["columns"] = {name: column.to_spec() for name, column in self.columns.items()}
        return content

    @property
    def table(self) -> Schema:
        """The columns as a schema, ready to be bound to a table."""
        return Schema(
            columns=self.columns,
            minimum_inputs=self.minimum_inputs,
            rows=self.rows,
            bad_hole=self.bad_hole,
            nulls=self.nulls,
        )
