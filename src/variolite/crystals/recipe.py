"""The recipe of a crystal VAE, and recipes made of configurations of chemeleon2."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import yaml
from pydantic import Field, ValidationInfo, model_validator

from variolite.errors import RecipeError
from variolite.recipe import (
    BaseRecipe,
    Positive,
    Seed,
    Share,
    Spec,
    TrainingSpec,
    Weight,
    load_recipe,
    read_recipe_file,
    recipe_from_dict,
)


class CrystalArchitecture(Spec):
    """Sizes of the two transformers over atoms in the canonical frame.

    ``latent`` dimensions stand for an atom, whose coordinates enter with ``fourier_features``
    for each axis; ``given`` is what the decoder is given instead of decoding it.
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
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
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
    return load_recipe(name, overrides, CrystalRecipe)


# Recipes out of plain configurations of chemeleon2, read as data: a ``_target_`` is text.

_SIZES = {"d_model": "width", "nhead": "heads", "dim_feedforward": "feedforward"}
_WEIGHTS = {"lambda_1": "reconstruction", "lambda_2": "kl", "lambda_3": "alignment"}
_TERMS = {"atom_types": "species", "frac_coords": "coordinates", "lengths": "lattice"}
_TERMS |= {"kl": "kl", "fa": "alignment"}

TAKEN: Mapping[str, str] = {
    "latent_dim": "model.latent",
    **{f"{p}{k}": f"model.{v}" for k, v in _SIZES.items() for p in ("encoder.", "decoder.", "")},
    "encoder.num_layers": "model.encoder_layers",
    "decoder.num_layers": "model.decoder_layers",
    "atom_type_predict": "model.given",
    **{f"loss_weights.{name}": f"loss.{key}" for name, key in (_WEIGHTS | _TERMS).items()},
    **{name: f"loss.{key}" for name, key in _WEIGHTS.items()},
    "optimizer.lr": "training.learning_rate",
    "trainer.max_epochs": "training.epochs",
    "trainer.gradient_clip_val": "training.gradient_clip",
    "data.batch_size": "training.batch_size",
    "seed": "training.seed",
}
"""Path in the configuration to the key of the recipe; of two for one key the first one rules."""

_FIXED = ("activation", "bias", "dropout", "norm_first")
_LAYERS = "layers are pre-norm with tanh-GELU, biases and no dropout here"
REASONS: Mapping[str, str] = {
    "loss_weights.angles": "lengths and angles are one metric here, weighted by loss.lattice",
    "augmentation": "latents and reconstructions do not depend on it here, so nothing is drawn",
    "optimizer": "Adam without weight decay is used",
    "trainer": "the loop, the device and precision are chosen by `variolite fit`",
    "data": "data are given to `variolite fit` with --data",
    **{f"{part}.{name}": _LAYERS for part in ("encoder", "decoder") for name in _FIXED},
}

_CLASSES = {"": "VAEModule", "encoder": "TransformerEncoder", "decoder": "TransformerDecoder"}


class Setting(NamedTuple):
    """A value at a dotted path: the recipe's key that it went to, or why it went to none."""

    path: str
    value: Any
    meaning: str


@dataclass(frozen=True)
class Imported:
    """A recipe in plain types; every value of the files is taken or left."""

    content: dict[str, Any]
    taken: list[Setting]
    left: list[Setting]
    files: list[Path]

    def to_yaml(self) -> str:
        """Write the recipe, with what was left out as comments above it."""
        lines = [f"Imported from {', '.join(path.name for path in self.files)}."]
        lines += ["Without a counterpart:"] * bool(self.left)
        lines += [f"  {left.path}: {left.value!r} ({left.meaning})" for left in self.left]
        comments = "".join(f"# {line}".replace("\n", " ") + "\n" for line in lines)
        return comments + yaml.safe_dump(self.content, sort_keys=False, allow_unicode=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe and what became of every value, for a program to read."""
        return {
            "recipe": self.content,
            "taken": [{"from": t.path, "value": t.value, "to": t.meaning} for t in self.taken],
            "left": [{"from": e.path, "value": e.value, "reason": e.meaning} for e in self.left],
            "files": [str(path) for path in self.files],
            "missing": [],
        }

    def lines(self) -> list[str]:
        """List what was taken and what was left out, a line for each value."""
        entries = [*self.taken, *self.left]
        values = [f"{entry.path} = {_shown(entry.value)}" for entry in entries]
        width = min(max(map(len, values), default=0), 48)
        lines = [f"  {v:<{width}}  {e.meaning}" for v, e in zip(values, entries, strict=True)]
        split = len(self.taken)
        left = [f"{len(self.left)} without a counterpart:"] * bool(self.left)
        return [f"{split} taken over:", *lines[:split], *left, *lines[split:]]


def _shown(value: Any) -> str:
    written = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    text = " ".join(written.split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def import_source(paths: Iterable[Path], name: str) -> Imported:
    """Read plain configurations, of which later ones lie over earlier ones.

    RecipeError if a file cannot be read as data, is composed of others, holds no crystal VAE, or
    names a class of the model that Variolite does not know.
    """
    files = list(paths)
    where = ", ".join(map(str, files))
    values: dict[str, Any] = {}
    for file in files:
        values |= _leaves(read_recipe_file(str(file)))
        if "defaults" in values:
            hint = "give one plain file, such as Hydra prints with `--cfg job --resolve`"
            what = "this is composed of other files by a list of defaults, which is not read"
            raise RecipeError(what, where=str(file), hint=hint)
    if not {path.split(".")[0] for path in values} & {*_CLASSES, "loss_weights", "latent_dim"}:
        hint = "give the file with latent_dim, encoder, decoder and loss_weights"
        raise RecipeError("this holds no crystal VAE of chemeleon2", where=where, hint=hint)
    for part, known in _CLASSES.items():
        for path in (f"{part}._target_".lstrip("."), part):
            target = str(values.pop(path, known))
            if target.rpartition(".")[2] not in (known, known.removesuffix(part.title()).lower()):
                what = f"the {part or 'model'} is {target!r}, which Variolite does not have"
                hint = f"known here: {known}; take {path} away to use ours"
                raise RecipeError(what, where=f"{where}: {path}", hint=hint)
    title = f"Imported from {files[-1].name}"
    content: dict[str, Any] = {"kind": "crystals", "name": name, "title": title}
    chosen: dict[str, Setting] = {}
    taken: list[Setting] = []
    left: list[Setting] = []
    for path in [path for path in dict.fromkeys((*TAKEN, *values)) if path in values]:
        key, value = TAKEN.get(path), _number(values[path])
        if key == "model.given" and isinstance(value, bool):
            value = [] if value else ["species"]
        if key is None:
            left.append(Setting(path, value, _reason(path)))
        elif isinstance(value, bool) or not isinstance(value, (int, float, list)):
            left.append(Setting(path, value, f"{key} takes another kind of value"))
        elif (first := chosen.setdefault(key, Setting(path, value, key))).value == value:
            taken.append(Setting(path, value, key))
        else:
            left.append(Setting(path, value, f"{key} is one value, taken from {first.path}"))
    for key, setting in chosen.items():
        section, _, last = key.partition(".")
        content.setdefault(section, {})[last] = setting.value
    # The weight of the KL never moves in chemeleon2.
    content.setdefault("training", {})["beta"] = {"kind": "constant", "value": 1.0}
    recipe_from_dict(content, where, BaseRecipe)
    return Imported(content, taken, left, files)


def _leaves(node: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        path = f"{above}{key}".removeprefix("vae_module.")
        found |= _leaves(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return found


def _reason(path: str) -> str:
    if path.endswith("_target_") and path != "optimizer._target_":
        return "Variolite neither knows nor imports this class"
    return REASONS.get(path) or REASONS.get(path.partition(".")[0], "Variolite has no such setting")


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-5 as text; the reader of chemeleon2 takes it for a number."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value):
        return int(value) if value.lstrip("+-").isdigit() else float(value)
    return value
