"""From rows and a recipe to a trained tabular model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.errors import TrainingError, counted
from variolite.recipe import MaskingSpec, ModelSpec, TableTrainingSpec, TrainingSpec
from variolite.records import FittedSchema, Records, Split, spellings
from variolite.training.device import choose_device, single_thread
from variolite.training.extra_terms import Contrast, Guide, Term, with_terms
from variolite.training.first_stage import pretrain, stage_masking, start_prior
from variolite.training.group_shift import fit_shift
from variolite.training.loop import Resume, Trained, Validation, train
from variolite.training.row_batches import Masking, Member, TrainingBatches, evaluation_batches
from variolite.training.storage import EpochRecord, load_checkpoint
from variolite.training.tabular import ARCHITECTURE, TabularModel
from variolite.vae import (
    AnalyticStep,
    Architecture,
    Batch,
    Likelihood,
    TabularModule,
    stack,
    supports,
)
from variolite.vae.sets import SetShape

ACTIVE_NATS = 0.01  # mean KL above which a latent dimension counts as active


@dataclass(frozen=True)
class Fitted(Trained):
    """A model with the best weights of every member, and the settings that were used.

    ``device`` says which was chosen and why.
    """

    model: TabularModel
    device: str
    batch_size: int
    learning_rate: float


def auto_batch_size(rows: int) -> int:
    """About 170 steps an epoch: the power of two next to n / 170, within 32 to 2048."""
    return int(np.clip(2 ** round(np.log2(max(rows, 1) / 170.0)), 32, 2048))


def auto_rate(batch_size: int) -> float:
    """0.004 at 256 rows a step, growing with the root of the batch."""
    return float(0.004 * np.sqrt(batch_size / 256.0))


def members_for(spec: TrainingSpec, model: ModelSpec, *, seeds: int = 1) -> tuple[Member, ...]:
    """Members that differ in their seed, counted up from that of the recipe."""
    return tuple(Member(spec.seed + seed, beta=1.0, latent=model.latent) for seed in range(seeds))


Features = Mapping[str, NDArray[np.float32]]
"""Features of the members of set columns, (levels, F) by column."""


def architecture_for(
    schema: FittedSchema,
    records: Records,
    spec: ModelSpec,
    latent: int,
    features: Features | None = None,
    *,
    masked: bool = False,
    classes: int = 0,
) -> Architecture:
    """Sizes that follow from the data, choices that follow from the recipe.

    The encoder sees a mask of what is missing if anything is, or is ``masked`` in training;
    ``classes`` are those of a label head.
    """
    features = features or {}
    return Architecture(
        # The column's own choice, else the recipe's; no numeric column can ask for categorical.
        likelihoods=tuple(
            cast(Likelihood, schema.schema.columns[n].likelihood or spec.likelihood)
            for n in schema.numeric_names
        ),
        category_levels=tuple(len(schema.category_levels[n]) for n in schema.category_names),
        sets=tuple(
            SetShape(
                len(schema.levels[n]),
                codes.shape[1],
                features[n].shape[1] if n in features else 0,
            )
            for n, codes in records.sets.items()
        ),
        condition=records.condition.shape[1],
        latent=latent,
        **spec.model_dump(include=set(_AS_IN_THE_RECIPE)),
        fixed_variance=0.25 if spec.sigma2 is None else spec.sigma2,
        mask_input=masked or not bool(records.observed.all()),
        context=spec.context,
        groups=_encoder_groups(schema, spec),
        classes=classes,
        components=0 if spec.prior == "standard" else spec.components,
    )


_AS_IN_THE_RECIPE = (
    *("encoder", "decoder", "norm", "dropout", "variance"),
    *("fusion", "decoders", "prior", "missingness"),
)


def _encoder_groups(schema: FittedSchema, spec: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """Numbers of the columns that each encoder sees: numeric ones, categories, sets."""
    if not spec.encoders:
        return ()
    names = (*schema.numeric_names, *schema.category_names, *schema.set_names)
    where, hint = "model.encoders", "bind them with --map, or take a recipe with one encoder"
    for group, columns in spec.encoders.items():
        if not set(names).intersection(columns):
            what = f"the table has no column for the encoder {group!r}: {', '.join(columns)}"
            raise TrainingError(what, where=where, hint=hint)
    alone = set(names).difference(*spec.encoders.values())
    if alone:
        what = f"no encoder sees {', '.join(sorted(alone))}"
        raise TrainingError(what, where=where, hint="add them to one, or leave them out")
    return tuple(
        tuple(i for i, name in enumerate(names) if name in columns)
        for columns in spec.encoders.values()
    )


def fit_tabular(
    schema: FittedSchema,
    training: Records,
    validation: Records | None,
    model: ModelSpec,
    spec: TableTrainingSpec,
    members: Sequence[Member],
    *,
    features: Features | None = None,
    device: str = "auto",
    resume: Callable[[str], Resume] | None = None,
    on_start: Callable[[str], None] = lambda _: None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> Fitted:
    """Train all members as one model.

    ``schema`` is fitted on the training rows; validation rows are of other groups. ``features``
    say what members of sets have in common. Without any,
    the training objective at the final beta is monitored. ``resume`` is called with the
    fingerprint of rows and settings when all has been checked, and returns where checkpoints go:
    an interrupted run that left one there is resumed. ``on_start`` is called with what was chosen:
    device, batch size and learning rate, and what comes before the main stage.

    Raises a TrainingError if there are too few rows, or the loss diverges.
    """
    if len(training) < 2:
        hint = "give more data, or a smaller split.test"
        raise TrainingError(f"only {counted(len(training), 'training row')} left", hint=hint)
    guide = None if spec.guidance is None else Guide.of(training, spec.guidance, spec.seed)
    pretraining = spec.pretraining
    sized = partial(
        architecture_for,
        *(schema, training, model),
        features=features,
        masked=bool(spec.masking or (pretraining and pretraining.columns)),
        classes=len(guide.classes) if guide else 0,
    )
    modules = [TabularModule(sized(m.latent), m.seed) for m in members]
    for module in modules:
        for name, column in zip(schema.set_names, module.set_columns, strict=True):
            if features and name in features:
                column.features.copy_(torch.from_numpy(features[name]))
    work = sum(p.numel() for p in modules[0].parameters())
    where, reason = choose_device(device, work)
    module = stack(modules).to(where)
    fitted = TabularModel(
        schema,
        module,
        tuple(members),
        groups=_groups_of(training, validation),
        shift=fit_shift(training, model, members[0].seed, on_start),
    )
    training, validation = fitted.prepared(training), validation and fitted.prepared(validation)
    in_epoch = min(len(training), spec.rows_per_epoch or len(training))
    batch_size = auto_batch_size(in_epoch) if spec.batch_size == "auto" else spec.batch_size
    rate = auto_rate(batch_size) if spec.learning_rate == "auto" else spec.learning_rate
    rows = Batch.of(training, where)
    masking = None if spec.masking is None else _masking(schema, training, spec.masking, where)
    batches = partial(
        TrainingBatches,
        rows,
        members,
        batch_size,
        dropout=model.dropout > 0.0,
        rows_per_epoch=spec.rows_per_epoch,
    )
    source = batches(masking=masking)
    first = None
    if pretraining is not None:
        groups = module.architecture.groups
        hidden = stage_masking(pretraining, schema.numeric_names, groups, where)
        stage = batches(masking=hidden)
        first = partial(pretrain, module, stage, spec, pretraining, rate, on_start)
    if (components := module.architecture.components) > len(training):
        what = f"{len(training)} training rows are too few for a prior of {components} components"
        raise TrainingError(what, where="model.components", hint="give more data, or fewer")
    architecture = ARCHITECTURE.dump_python(module.architecture, mode="json")
    settings = [architecture, spec.model_dump(mode="json"), [*map(asdict, members)]]
    labels = guide.codes if guide else None
    checkpoints = resume and resume(_fingerprint(training, validation, labels, settings))
    on_start(
        f"{reason}; {counted(len(training), 'row')}, {counted(source.steps, 'step')} of "
        f"{source.batch_size}, "
        f"rate {rate:.2g}, {work:,} weights, {counted(len(members), 'member')}"
    )
    if guide:
        on_start(guide.note)
    contrast = spec.contrastive and Contrast(module, rows, spec.contrastive)
    terms: list[Term] = [contrast] if contrast else []
    terms += [guide.term(module)] if guide else []
    held = Batch.of(validation, where) if validation is not None and len(validation) else None
    closed_form = spec.engine != "autograd" and supports(module) and not terms
    with single_thread(work):
        # What an interrupted main stage left holds all weights already.
        stored = checkpoints and load_checkpoint(checkpoints.path, checkpoints.fingerprint)
        if stored is None:
            if first is not None:
                first()
            if components:
                start_prior(module, rows, members)
        trained = train(
            module,
            with_terms(module, terms) if terms else module.loss,
            contrast.epochs(source) if contrast else source.epoch,
            None if held is None else lambda: _validate(module, held, members),
            spec,
            learning_rate=rate,
            betas=[m.beta for m in members],
            analytic=partial(AnalyticStep, module) if closed_form else None,
            resume=checkpoints,
            on_epoch=on_epoch,
        )
    module.to("cpu").eval()
    return Fitted(
        **vars(trained),
        model=fitted,
        device=reason,
        batch_size=source.batch_size,
        learning_rate=rate,
    )


def _groups_of(training: Records, validation: Records | None) -> Split | None:
    if training.group is None:
        return None
    train = spellings(pl.Series(training.group).unique())
    held = () if validation is None or validation.group is None else validation.group
    # An estimator may validate on other rows of the same groups.
    others = spellings(pl.Series(held, dtype=pl.String).unique()).keys() - train
    return Split(tuple(train), tuple(others), ())


def _masking(
    schema: FittedSchema, training: Records, spec: MaskingSpec, device: torch.device
) -> Masking:
    names = schema.numeric_names
    blocks = torch.eye(len(names), dtype=torch.bool)
    if spec.columns:
        blocks = torch.tensor([[name in spec.columns for name in names]])
        if not blocks.any():
            what = f"the table has none of the columns to mask: {', '.join(spec.columns)}"
            hint = "name others, or leave training.masking.columns out to mask any one"
            raise TrainingError(what, where="training.masking", hint=hint)
    group = np.zeros(len(training), np.int64)
    if training.group is not None:
        group = pl.Series(training.group).rank("dense").to_numpy().astype(np.int64) - 1
    return Masking(
        spec.kind,
        spec.share,
        blocks.to(device),
        torch.from_numpy(group).to(device),
        scored=spec.likelihood == "observed",
    )


def _validate(module: TabularModule, rows: Batch, members: Sequence[Member]) -> Validation:
    """Average the terms of the objective over validation rows with fixed noise."""
    ones = torch.ones(len(members), device=rows.numeric.device)
    sums: list[Tensor] = []
    for batch in evaluation_batches(rows, members):
        posterior = module.infer(batch)
        terms = module.loss(batch, ones, posterior)
        per_dimension = module.prior().kl_per_dimension(posterior).mean(dim=1)
        # One tensor (M, 2 + L) for all: few calls, and a single reading back.
        joined = torch.column_stack([terms.reconstruction, terms.kl, per_dimension])
        # The last batch is shorter: means are weighted by their rows.
        sums.append(joined * (len(batch) / len(rows)))
    total = torch.stack(sums).sum(0)
    return Validation(total[:, 0], total[:, 1], (total[:, 2:] > ACTIVE_NATS).sum(1))


def _fingerprint(
    training: Records,
    validation: Records | None,
    labels: NDArray[np.int64] | None,
    settings: Sequence[Any],
) -> str:
    """Identify a run by its rows, the labels that guide it, and settings."""
    digest = hashlib.sha256()
    parts: list[NDArray[Any] | None] = [labels]
    for records in filter(None, (training, validation)):
        parts += [records.numeric, records.observed, records.category, records.condition]
        parts += [*records.sets.values(), records.context]
    for array in parts:
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()
