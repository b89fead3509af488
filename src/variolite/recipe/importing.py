"""Recipes out of configurations in the style of chemeleon2, read as data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from variolite.errors import RecipeError
from variolite.recipe.loading import any_recipe_from_dict, parse_yaml

# What the keys of a source configuration mean here, and why some mean nothing.
#
# Paths are dotted, without the section (``vae_module``) that the model stands in.


SECTIONS = ("vae_module", "vae", "model", "module")
"""Names of the section that the model stands in; without one its keys stand at the top."""

TAKEN: dict[str, str] = {
    "latent_dim": "model.latent",
    "encoder.d_model": "model.width",
    "decoder.d_model": "model.width",
    "d_model": "model.width",
    "encoder.hidden_dim": "model.width",
    "decoder.hidden_dim": "model.width",
    "hidden_dim": "model.width",
    "encoder.nhead": "model.heads",
    "decoder.nhead": "model.heads",
    "nhead": "model.heads",
    "encoder.num_layers": "model.encoder_layers",
    "decoder.num_layers": "model.decoder_layers",
    "encoder.dim_feedforward": "model.feedforward",
    "decoder.dim_feedforward": "model.feedforward",
    "dim_feedforward": "model.feedforward",
    "atom_type_predict": "model.given",
    "loss_weights.lambda_1": "loss.reconstruction",
    "loss_weights.lambda_recon": "loss.reconstruction",
    "loss_weights.reconstruction": "loss.reconstruction",
    "lambda_1": "loss.reconstruction",
    "loss_weights.kl": "loss.divergence",
    "loss_weights.lambda_2": "loss.divergence",
    "loss_weights.lambda_kl": "loss.divergence",
    "lambda_2": "loss.divergence",
    "kl_weight": "loss.divergence",
    "loss_weights.fa": "loss.alignment",
    "loss_weights.lambda_3": "loss.alignment",
    "loss_weights.lambda_fa": "loss.alignment",
    "lambda_3": "loss.alignment",
    "loss_weights.atom_types": "loss.species",
    "loss_weights.frac_coords": "loss.coordinates",
    "loss_weights.lengths": "loss.lattice",
    "loss_weights.lattice": "loss.lattice",
    "optimizer.lr": "training.learning_rate",
    "trainer.max_epochs": "training.epochs",
    "trainer.gradient_clip_val": "training.gradient_clip",
    "data.batch_size": "training.batch_size",
    "seed": "training.seed",
}
"""Path in the source to the key of the recipe. Where two are one here, the first one rules."""

MESSAGES = frozenset({"CSPNet", "CSPNetEncoder", "cspnet"})
"""Names of the other encoder; the model of kind ``source`` alone has it."""

TARGETS: dict[str, frozenset[str]] = {
    "": frozenset({"VAEModule"}),
    "encoder": frozenset({"TransformerEncoder", "transformer", *MESSAGES}),
    "decoder": frozenset({"TransformerDecoder", "transformer"}),
}
"""Names of the classes whose place a part of Variolite takes, by section of the source."""

OPTIMISERS = frozenset({"Adam", "AdamW"})
"""What Adam here is the same as, without weight decay."""

_NO_DRAWS = "latents and reconstructions do not depend on it here, so nothing is drawn"
_FIXED = "the layers here are always pre-norm with tanh-GELU, biases and no dropout"
_COMMAND = "this is chosen when a command is called, not in a recipe"
_STOPPING = "the best weights on held-back crystals are always kept; patience counts epochs here"
_LOGGING = "every run writes history.jsonl and a report; nothing is sent anywhere"

REASONS: dict[str, str] = {
    "loss_weights.angles": "lengths and angles are one metric here, weighted by loss.lattice",
    "encoder.max_num_elements": "the table of elements is made from the training crystals",
    "decoder.max_num_elements": "the table of elements is made from the training crystals",
    "encoder.index_embedding": "atoms have no number here: their order means nothing",
    "decoder.index_embedding": "atoms have no number here: their order means nothing",
    "encoder.atom_index_embedding": "atoms have no number here: their order means nothing",
    "decoder.atom_index_embedding": "atoms have no number here: their order means nothing",
    "pos_embed": "atoms have no number here: their order means nothing",
    "encoder.activation": _FIXED,
    "decoder.activation": _FIXED,
    "encoder.dropout": _FIXED,
    "decoder.dropout": _FIXED,
    "encoder.norm_first": _FIXED,
    "decoder.norm_first": _FIXED,
    "encoder.bias": _FIXED,
    "decoder.bias": _FIXED,
    "decoder.atom_type_predict": "model.given says so for the whole model",
    "augmentation": _NO_DRAWS,
    "noise": "inputs are not corrupted here",
    "structure_matcher": "`variolite score` matches at the usual tolerances and at strict ones",
    "optimizer.weight_decay": "Adam runs without weight decay here, which is what 0 means",
    "optimizer.betas": "Adam has 0.9 and 0.999 here",
    "optimizer.eps": "Adam has 1e-8 here",
    "optimizer._partial_": "it belongs to the way in which the source builds its objects",
    "optimizer._target_": "Adam without weight decay is used, which is the same",
    "scheduler": "the rate is constant, or falls on a plateau: see training.plateau",
    "max_atoms": "crystals may have any number of atoms",
    "trainer.min_epochs": _STOPPING,
    "trainer.check_val_every_n_epoch": "held-back crystals are looked at after every epoch",
    "trainer": "the loop, the device and precision are chosen by `variolite fit`",
    "data.mace_features": "features are computed once by CHGNet where loss.alignment is above 0",
    "data.num_workers": "crystals lie in flat arrays; no workers load them",
    "data.pin_memory": "crystals lie in flat arrays; no workers load them",
    "data.dataset_type": _COMMAND,
    "data.data_dir": _COMMAND,
    "data.target_condition": "conditions belong to the prior, which is fitted after training",
    "data": "data are given to `variolite fit` with --data",
    "callbacks.early_stopping": _STOPPING,
    "callbacks.model_checkpoint": _STOPPING,
    "callbacks": "the loop needs none",
    "logger": _LOGGING,
    "ckpt_path": "weights of the source are pickles and are not read",
    "resume_from": "weights of the source are pickles and are not read",
    "task_name": "the folder of a run is named with --out",
    "tags": _LOGGING,
    "paths": _COMMAND,
    "hydra": "commands are not composed by Hydra here",
}
"""Path, or the section it lies in, to why it has no counterpart; the longest one rules."""


# Configurations spread over files with ``defaults`` lists, read as data.
#
# The layout is Hydra's: a file in ``trainer/`` fills the section ``trainer``, a list named
# ``defaults`` says which files lie below this one, and ``${a.b}`` stands for another value.
# Nothing is imported, called or looked up outside the folder: what would have to be run is
# left as it stands and reported.


MOST_FILES = 100
MOST_BYTES = 1_000_000
DEEPEST = 20
"""Limits no honest configuration comes near."""

_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)\s*$", re.MULTILINE)
_REFERENCE = re.compile(r"\$\{([\w.\-]+)\}")


@dataclass
class Composed:
    """One mapping made of all files.

    Attributes
    ----------
    content
        Sections and values, later files over earlier ones.
    files
        What was read, in the order in which it was laid over.
    missing
        Files that ``defaults`` lists name and that are not there.
    """

    content: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        """Leaves by dotted path, references to other leaves written out.

        What has a resolver (``${oc.env:HOME}``), and what refers to nothing here, stays text.
        """
        leaves = dict(_leaves(self.content, ""))
        return {path: _resolved(value, leaves, 0) for path, value in leaves.items()}


def compose(paths: Iterable[Path]) -> Composed:
    """Read configurations and all files below them; later ones lie over earlier ones.

    Raises
    ------
    RecipeError
        If a file cannot be read, is no mapping, carries a tag, leads out of its folder or
        includes itself.
    """
    found = Composed()
    for path in paths:
        _add(found, path, _root_of(path), section=None, above=())
    return found


def _root_of(path: Path) -> Path:
    """The folder of configurations: the one that is called so, or the file's own."""
    named = [folder for folder in path.resolve().parents if folder.name in ("configs", "conf")]
    return named[0] if named else path.resolve().parent


def _add(
    found: Composed, path: Path, root: Path, section: str | None, above: tuple[Path, ...]
) -> None:
    resolved = path.resolve()
    if resolved in above or len(above) > DEEPEST:
        raise RecipeError("this file includes itself", where=str(path))
    if len(found.files) >= MOST_FILES:
        raise RecipeError(f"more than {MOST_FILES} files belong to it", where=str(above[0]))
    text, content = _read(path)
    found.files.append(path)
    group = resolved.parent.relative_to(root).as_posix().strip(".")
    package = group.replace("/", ".") if section is None else section
    declared = _PACKAGE.search(text)
    if declared is not None:
        package = "" if declared[1] == "_global_" else declared[1]
    defaults = content.pop("defaults", None)
    entries = list(_entries(defaults, path))
    if not any(entry is None for entry in entries):
        entries.append(None)
    for entry in entries:
        if entry is None:
            _lay_over(found.content, _nested(package, content))
            continue
        folder, option, absolute = entry
        place = folder if absolute else f"{group}/{folder}".strip("/")
        below = _within(root, f"{place}/{option}".strip("/"), path)
        if below is None:
            found.missing.append(f"{place}/{option}.yaml".strip("/"))
            continue
        _add(found, below, root, place.replace("/", "."), (*above, resolved))


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RecipeError(f"this is more than {MOST_BYTES:,} bytes", where=str(path))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RecipeError(
            f"cannot read the configuration: {reason}", where=str(path), hint="check the path"
        ) from None
    content = parse_yaml(text, str(path))
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise RecipeError("a configuration is a mapping of keys to values", where=str(path))
    return text, content


def _entries(defaults: Any, path: Path) -> Iterator[tuple[str, str, bool] | None]:
    """Entries of a defaults list: (group, option, from the root?), None for the file itself."""
    if defaults is None:
        return
    if not isinstance(defaults, list):
        raise RecipeError("defaults is a list", where=str(path))
    for entry in defaults:
        if entry == "_self_":
            yield None
        elif isinstance(entry, str):
            yield "", entry, entry.startswith("/")
        elif isinstance(entry, Mapping) and len(entry) == 1:
            ((name, options),) = entry.items()
            group = str(name).split("@")[0].split()[-1]
            for option in options if isinstance(options, list) else [options]:
                if option is not None:
                    yield group.lstrip("/"), str(option), "/" in group[:1]
        else:
            raise RecipeError(
                "an entry of defaults is a name or one `group: name`", where=str(path)
            )


def _within(root: Path, name: str, path: Path) -> Path | None:
    """The file of that name below the root; None where there is none."""
    below = root / f"{name.removesuffix('.yaml')}.yaml"
    if not below.resolve().is_relative_to(root):
        raise RecipeError(
            f"defaults leads out of the folder of the configuration: {name}", where=str(path)
        )
    return below if below.is_file() else None


def _nested(package: str, content: dict[str, Any]) -> dict[str, Any]:
    for part in reversed([part for part in package.split(".") if part]):
        content = {part: content}
    return content


def _lay_over(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        old = below.get(key)
        if isinstance(value, Mapping):
            target = dict(old) if isinstance(old, dict) else {}
            _lay_over(target, value)
            below[str(key)] = target
        else:
            below[str(key)] = value


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def _resolved(value: Any, leaves: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(value, str) or depth > DEEPEST:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is None or whole[1] not in leaves:
        return value
    return _resolved(leaves[whole[1]], leaves, depth + 1)


# Recipes out of configurations in the style of the source, read as data.
#
# Keys are looked up in `source_keys`; a ``_target_`` is text to be recognised, never a class to
# be imported.


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SETTINGS = ("encoder", "decoder", "loss_weights", "latent_dim", "augmentation", "optimizer")


@dataclass(frozen=True)
class Taken:
    """A value that went into the recipe.

    Attributes
    ----------
    path
        Dotted path in the source.
    value
        As read.
    key
        Key of the recipe.
    """

    path: str
    value: Any
    key: str


@dataclass(frozen=True)
class Left:
    """A value that has no counterpart.

    Attributes
    ----------
    path
        Dotted path in the source.
    value
        As read.
    reason
        Why it was left out.
    """

    path: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Imported:
    """A recipe and the account of how it came about.

    Attributes
    ----------
    content
        The recipe in plain types; what the source does not say is not in it.
    taken, left
        Every value of the source stands in one of them.
    files
        What was read.
    missing
        Files that were named and not found.
    """

    content: dict[str, Any]
    taken: tuple[Taken, ...]
    left: tuple[Left, ...]
    files: tuple[Path, ...]
    missing: tuple[str, ...]


def import_source(paths: Iterable[Path], name: str) -> Imported:
    """Read configurations in the style of the source and say what they mean here.

    Parameters
    ----------
    paths
        Files; later ones lie over earlier ones, as an experiment over its primary file.
    name
        Of the recipe.

    Raises
    ------
    RecipeError
        If a file cannot be read as data, holds no crystal VAE, or names a model, encoder or
        decoder that Variolite does not know, or a value that a recipe cannot have.
    """
    chosen = tuple(paths)
    composed = compose(chosen)
    where = ", ".join(map(str, chosen))
    values = {_own_path(path): value for path, value in composed.values().items()}
    if not any(path.split(".")[0] in _SETTINGS for path in values):
        raise RecipeError(
            "this holds no crystal VAE in the style of the source",
            where=where,
            hint="give the file with latent_dim, encoder, decoder and loss_weights, or the "
            "experiment that refers to it",
        )
    recognised = _check_targets(values, where)
    taken, left = _sorted_out(values, recognised)
    kind = _kind(values)
    if kind["kind"] == "source":
        reason = "the model of kind source decodes the elements always"
        left += [Left(t.path, t.value, reason) for t in taken if t.key == "model.given"]
        taken = [t for t in taken if t.key != "model.given"]
    content: dict[str, Any] = {
        "kind": "crystals",
        "name": name,
        "title": f"Imported from {chosen[-1].name}",
        "model": kind,
    }
    for entry in taken:
        section, _, key = entry.key.partition(".")
        content.setdefault(section, {}).setdefault(key, entry.value)
    # The weight of the divergence never moves in the source.
    content.setdefault("training", {})["beta"] = {"kind": "constant", "value": 1.0}
    any_recipe_from_dict(content, where)
    return Imported(
        content, tuple(taken), tuple(left), tuple(composed.files), tuple(composed.missing)
    )


def imported_to_yaml(imported: Imported) -> str:
    """Write the recipe, with what was left out as comments above it."""
    lines = ["Imported from " + ", ".join(path.name for path in imported.files) + "."]
    if imported.left:
        lines.append("Without a counterpart:")
        lines += [f"  {left.path}: {left.value!r} ({left.reason})" for left in imported.left]
    comments = "".join(f"# {line}".replace("\n", " ") + "\n" for line in lines)
    return comments + yaml.safe_dump(imported.content, sort_keys=False, allow_unicode=True)


def _own_path(path: str) -> str:
    head, _, rest = path.partition(".")
    return rest if head in SECTIONS and rest else path


def _check_targets(values: Mapping[str, Any], where: str) -> set[str]:
    """Recognise the classes of the model; return their paths, which need no more words."""
    recognised = set()
    for section, classes in TARGETS.items():
        for path in (f"{section}._target_".lstrip("."), section):
            if path not in values or not isinstance(values[path], str):
                continue
            last = values[path].rpartition(".")[2]
            if last not in classes:
                known = ", ".join(sorted(classes))
                raise RecipeError(
                    f"the {section or 'model'} is {values[path]!r}, which Variolite does not "
                    "have and does not import",
                    where=f"{where}: {path}",
                    hint=f"known here: {known}; take {path} away to use ours",
                )
            recognised.add(path)
    return recognised


def _kind(values: Mapping[str, Any]) -> dict[str, Any]:
    encoder = str(values.get("encoder._target_", values.get("encoder")))
    if encoder.rpartition(".")[2] in MESSAGES:
        return {"kind": "source", "encoder": "cspnet"}
    return {"kind": "transformer"}


def _sorted_out(values: Mapping[str, Any], recognised: set[str]) -> tuple[list[Taken], list[Left]]:
    taken: list[Taken] = []
    left: list[Left] = []
    chosen: dict[str, Taken] = {}
    order = {path: place for place, path in enumerate(TAKEN)}
    for path in sorted(values, key=lambda path: order.get(path, len(order))):
        key, value = TAKEN.get(path), _number(values[path])
        if path in recognised:
            continue
        if key == "model.given" and isinstance(value, bool):
            value = [] if value else ["species"]
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            reason = _reason(path, value) if key is None else f"{key} takes another kind of value"
            left.append(Left(path, value, reason))
            continue
        if key is None:
            left.append(Left(path, value, _reason(path, value)))
        elif chosen.setdefault(key, Taken(path, value, key)).value == value:
            taken.append(Taken(path, value, key))
        else:
            left.append(Left(path, value, f"{key} is one value, taken from {chosen[key].path}"))
    return taken, left


def _reason(path: str, value: Any) -> str:
    if path == "optimizer._target_" and str(value).rpartition(".")[2] not in OPTIMISERS:
        return "Adam is used here"
    section = path
    while section:
        if section in REASONS:
            return REASONS[section]
        section = section.rpartition(".")[0]
    if path.rpartition(".")[2] == "_target_":
        return "Variolite neither knows nor imports this class"
    return "Variolite has no such setting"


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-5 as text; the source's own reader takes it for a number."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value) if value.lstrip("+-").isdigit() else float(value)
    return value
