"""Recipes: typed settings that decide a run and extend one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from variolite.errors import RecipeError, SchemaError, nearest
from variolite.fields import FIELDS, field_of_kind
from variolite.records import Column, DepthContext, Schema
from variolite.records.schema import BadHole
from variolite.strict_yaml import load_yaml, read_yaml

# What a recipe holds.

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
    with ``drift``, in units of the order, it changes slowly along depth.
    ``context`` shows the encoder the rows around each row of a hole.

    ``encoders`` are groups of columns with an encoder each, joined by ``fusion``: concat
    gives each a share of the latent dimensions, product multiplies their Gaussians, so
    that what is missing drops out. ``decoders`` may be one by group or column as well;
    hidden widths are then of each. ``prior`` is the standard normal, a learned mixture of
    ``components``, or that of as many pseudo-inputs (VampPrior).
    """

    latent: Positive = 10
    encoder: tuple[Positive, ...] = (32, 16)
    decoder: tuple[Positive, ...] = (16, 32)
    norm: Literal["none", "layer"] = "none"
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    likelihood: Literal["gaussian", "student_t"] = "gaussian"
    variance: Literal["fixed", "feature", "row"] = "feature"
    sigma2: Annotated[float, Field(gt=0.0)] | None = None
    shift: Literal["none", "group"] = "none"
    drift: Annotated[float, Field(gt=0.0)] | None = None
    context: DepthContext | None = None
    encoders: dict[str, tuple[str, ...]] = {}
    fusion: Literal["concat", "product"] = "concat"
    decoders: Literal["shared", "by_group", "by_column"] = "shared"
    prior: Literal["standard", "mixture", "vamp"] = "standard"
    components: AtLeastTwo = 10

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
    that probability, drawn anew in each epoch. The ``likelihood`` is of all observed values, so
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
    while training, where the processor gains by it. ``rows_per_epoch`` is the most rows
    of one epoch, drawn anew for each.
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
    rows_per_epoch: Positive | None = None
    masking: MaskingSpec | None = None
    pretraining: PretrainingSpec | None = None
    contrastive: ContrastiveSpec | None = None
    guidance: GuidanceSpec | None = None

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
    """How latents become clusters. ``rule`` picks k from ``k`` without labels.

    ``algorithm`` prior takes the components of the prior for clusters; hmm is a
    hidden Markov model along depth, with k by the silhouette of the k-means
    that it starts from.
    """

    algorithm: Literal["kmeans", "gmm", "hdbscan", "hmm", "prior"] = "gmm"
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
    training: TrainingSpec = TrainingSpec()
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


# Finding, extending and overriding recipes.

R = TypeVar("R", bound=BaseRecipe)

_WITH_KINDS = frozenset({("training", "beta")})
"""Places where settings belong to the kind that stands beside them."""


def packaged_recipes() -> dict[str, str]:
    """Name and title of every recipe that ships with Variolite."""
    found: dict[str, str] = {}
    _collect(resources.files("variolite") / "recipes", "", found)
    return found


def _collect(folder: Traversable, above: str, found: dict[str, str]) -> None:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            _collect(entry, f"{above}{entry.name}/", found)
        elif entry.name.endswith(".yaml") and not entry.name.startswith("_"):
            content = yaml.safe_load(entry.read_text(encoding="utf-8"))
            name = f"{above}{entry.name.removesuffix('.yaml')}"
            found[name] = str(content.get("title", ""))


def load_recipe(
    name: str | Path,
    overrides: Iterable[str] = (),
    kind: type[R] = Recipe,  # type: ignore[assignment]  # a default cannot bind R
    *,
    stored: bool = False,
) -> R:
    """Load a packaged recipe by name, or a file by path, and apply overrides.

    Parameters
    ----------
    name
        ``corelogs/default``, or the path of a YAML file.
    overrides
        ``key.subkey=value`` each; the value is read as YAML.
    kind
        Class that the recipe has to be of: one for tables by default, `BaseRecipe` for any.
    stored
        It is the recipe of a run: parts that this version can no longer train are read.

    Raises
    ------
    RecipeError
        If it is unknown, is not YAML, holds an unknown key or a wrong value, or is of
        another kind.
    """
    content = _resolve(str(name), ())
    for override in overrides:
        content = _override(content, override)
    return recipe_from_dict(content, f"recipe {name}", kind, stored=stored)


def recipe_from_dict(
    content: Mapping[str, Any],
    where: str,
    kind: type[R] = Recipe,  # type: ignore[assignment]
    *,
    stored: bool = False,
) -> R:
    """Validate a recipe that stands resolved in a mapping; see `load_recipe`."""
    try:
        recipe = _model_of(content, where).model_validate(content, context={"stored": stored})
    except ValidationError as error:
        raise _explain(error, content, where) from None
    if not isinstance(recipe, kind):
        needed = kind.model_fields["kind"].default
        what = f"this is a recipe of kind {recipe.kind}, where one of kind {needed} is needed"
        raise RecipeError(what, where=where, hint="`variolite recipes` lists them")
    return recipe


def _model_of(content: Mapping[str, Any], where: str) -> type[BaseRecipe]:
    kind = content.get("kind", "tabular")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise RecipeError(f"kind must be one of {', '.join(FIELDS)}", where=where)
    return field_of_kind(kind).recipe


def recipe_to_yaml(recipe: BaseRecipe) -> str:
    """Write a resolved recipe; loading it again gives the same recipe.

    Defaults are written out too: another version may have other ones.
    """
    return yaml.safe_dump(recipe.contents(), sort_keys=False, allow_unicode=True)


def _resolve(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    is_file = name.endswith((".yaml", ".yml"))
    identity = str(Path(name).resolve()) if is_file else name
    if identity in seen:
        what = f"recipes extend each other in a circle: {' -> '.join((*seen, identity))}"
        raise RecipeError(what, hint="remove one of the extends lines")
    content = read_recipe_file(name) if is_file else _read_packaged(name)
    own_name = content.get("name")
    parent = content.pop("extends", None)
    if parent is not None:
        if not isinstance(parent, str):
            raise RecipeError("extends takes one name", where=f"recipe {name}")
        local = Path(name).parent / parent
        if is_file and parent.endswith((".yaml", ".yml")):
            parent = str(local)
        content = _lay_over(_resolve(parent, (*seen, identity)), content, f"recipe {name}")
    else:
        content = _lay_over({}, content, f"recipe {name}")
    if own_name is None or not is_file:
        content["name"] = Path(name).stem if is_file else name
    return content


def read_recipe_file(name: str) -> dict[str, Any]:
    """Read a file of YAML that holds a mapping.

    Raises `RecipeError` if it cannot be read as plain data.
    """
    with _of_recipes(f"recipe {name}"):
        return _mapping(read_yaml(Path(name)))


def _read_packaged(name: str) -> dict[str, Any]:
    entry = resources.files("variolite").joinpath("recipes", *f"{name}.yaml".split("/"))
    if ".." in name or not entry.is_file():
        known = packaged_recipes()
        close = nearest(name, known)
        hint = f"did you mean {close}? " if close else ""
        hint += "`variolite recipes` lists them; a file of your own ends in .yaml"
        raise RecipeError(f"there is no recipe called {name!r}", hint=hint)
    return _mapping(load_yaml(entry.read_text(encoding="utf-8")))


@contextmanager
def _of_recipes(where: str) -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise RecipeError(error.what, where=where, hint=error.hint) from None


def _mapping(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise SchemaError("a recipe is a mapping of keys to values")
    return content


def _lay_over(below: Mapping[str, Any], above: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Merge a layer over another, with keys of earlier versions under their names today."""
    kind = str(above.get("kind", below.get("kind", "tabular")))
    former_keys = field_of_kind(kind).recipe.former_keys if kind in FIELDS else {}
    layer = dict(above)
    for former, key in former_keys.items():
        section, _, old = former.partition(".")
        values = layer.get(section)
        if isinstance(values, Mapping) and old in values and key not in values:
            layer[section] = {key if k == old else k: v for k, v in values.items()}
    return _merge(below, layer, where=where)


def _merge(
    below: Mapping[str, Any], above: Mapping[str, Any], path: tuple[str, ...] = (), *, where: str
) -> dict[str, Any]:
    """Lay one mapping over another; null takes a column away."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if path == ("columns",) and value is None:
            if key not in merged:
                close = nearest(str(key), map(str, merged))
                hint = f"did you mean {close}?" if close else None
                raise RecipeError(
                    f"there is no column {key!r} to take away", where=where, hint=hint
                )
            del merged[key]
        elif isinstance(value, Mapping) and isinstance(old, Mapping):
            place = (*path, str(key))
            # A schedule of another kind replaces the old one: its settings do not
            # carry over.
            other_kind = place in _WITH_KINDS and value.get("kind", old.get("kind")) != old.get(
                "kind"
            )
            merged[key] = dict(value) if other_kind else _merge(old, value, place, where=where)
        else:
            merged[key] = value
    return merged


def _override(content: Mapping[str, Any], text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    where = f"--set {text}"
    if not separator or not key:
        hint = "for example --set training.epochs=50"
        raise RecipeError("this is not of the form key.subkey=value", where=where, hint=hint)
    with _of_recipes(where):
        nested: Any = load_yaml(value)
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return _lay_over(content, nested, where)


def _explain(error: ValidationError, content: Mapping[str, Any], where: str) -> RecipeError:
    """Name the first thing that is wrong, with the nearest key where one is unknown."""
    errors = error.errors(include_url=False)
    first = errors[0]
    path = _written_path(first["loc"], content)
    key = ".".join(path)
    kind = first["type"]
    if kind == "extra_forbidden":
        known = list(_models_at(path[:-1], content)[0].model_fields)
        known += [] if path[:-1] else ["extends"]
        close = nearest(path[-1], known)
        hint = f"did you mean {close}?" if close else f"known keys: {', '.join(known)}"
        return RecipeError(f"unknown key {key!r}", where=where, hint=hint)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        kinds = ", ".join(str(_kind(model)) for model in _models_at(path, content))
        return RecipeError(f"{key}.kind must be one of {kinds}", where=where)
    same = [e["msg"] for e in errors if _written_path(e["loc"], content) == path]
    message = "; or ".join(dict.fromkeys(same)).removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float)) else ""
    return RecipeError(f"{key or 'recipe'}: {message}{shown}", where=where)


def _written_path(location: tuple[int | str, ...], content: Any) -> list[str]:
    """Leave out of pydantic's location what nobody wrote, such as the names of alternatives."""
    path = []
    for i, part in enumerate(location):
        inside = isinstance(content, Mapping) and part in content
        if inside or isinstance(part, int):
            path.append(str(part))
            content = content[part] if inside else None
        elif i == len(location) - 1 and isinstance(content, Mapping):
            path.append(str(part))
    return path


def _models_at(path: list[str], content: Any) -> list[type[BaseModel]]:
    """Models that may stand at ``path``: that of the kind which is written there, else all."""
    found: list[type[BaseModel]] = [_model_of(content, "recipe")]
    for part in path:
        content = content[part]
        written = content.get("kind") if isinstance(content, Mapping) else None
        alternatives = _models_in(found[0].model_fields[part].annotation)
        found = [m for m in alternatives if _kind(m) == written] or alternatives
    return found


def _kind(model: type[BaseModel]) -> Any:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [model for argument in arguments for model in _models_in(argument)]
