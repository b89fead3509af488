"""The classifier of a guided run: fitted after the model, kept in the run, applied to any well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.corelogs.guided.boosted_trees import BoostedTrees
from variolite.corelogs.guided.classifier import Heads, LeftOut, WellClassifier, fit_classifier
from variolite.corelogs.guided.features import FeatureExtractor, LogFeatures, WellFeatures
from variolite.corelogs.guided.picks import require_labels
from variolite.corelogs.guided.semi_supervised import SemiSupervised
from variolite.corelogs.guided.views import Wells
from variolite.errors import DataError
from variolite.records import Records
from variolite.scoring.hmm import HiddenMarkov, Whitening
from variolite.scoring.intervals import FloatArray
from variolite.training import RunFolder, TabularModel
from variolite.training.group_shift import GroupShift, fit_shift
from variolite.training.run import Prepared
from variolite.training.storage import reading_arrays, write_arrays


def wells_of(model: TabularModel, records: Records, shift: GroupShift | None) -> Wells:
    """Whole wells as a classifier gets them: gaps filled by the first member of the model."""
    numeric = records.numeric.astype(np.float64)
    if not records.observed.all():
        decoded = model.only(0).reconstruct(records)[0]
        for i, name in enumerate(model.schema.numeric_names):
            gaps = ~records.observed[:, i]
            numeric[gaps, i] = model.schema.numeric[name].evaluate(decoded[gaps, i])[0]
    shifts = None if shift is None else shift.shifts(records).astype(np.float64)
    groups = np.zeros(len(numeric), "U1") if records.group is None else records.group
    return Wells.of(numeric, shifts, groups, records.order)


def labels_of(records: Records) -> NDArray[np.str_]:
    """Labels of the rows (n,) by their first label column, "" where there is none."""
    return next(iter(records.labels.values()), np.full(len(records), "", "U1"))


def learnt_from(prepared: Prepared) -> tuple[Records, NDArray[np.str_]]:
    """Return the rows that a classifier learns from and their labels: all but the held-out wells.

    Where no held-out row has a label, the logs of held-out wells are learnt from as well.
    DataError if no row has a label, or all have the same.
    """
    records = prepared.records
    assert records.group is not None  # the split has checked
    test = prepared.split.rows(records.group)["test"]
    labels = labels_of(records)
    if (labels[test] != "").any():
        rest = np.setdiff1d(np.arange(len(records)), test)
        records, labels = records.take(rest), labels[rest]
    require_labels(labels)
    return records, labels


def fit_guided(run: RunFolder, prepared: Prepared, note: Callable[[str], None]) -> WellClassifier:
    """Learn from the logs of all wells and from the labels outside the held-out ones."""
    model, (records, labels) = run.model(), learnt_from(prepared)
    recipe = run.recipe()
    seed = recipe.training.seed
    shift = fit_shift(records, recipe.model, seed, lambda line: note(f"for the classes, {line}"))
    wells = wells_of(model, records, shift)
    features = WellFeatures(wells, FeatureExtractor.fit(wells, seed))
    classifier = replace(fit_classifier(features, labels, seed=seed), shift=shift)
    _save(run, classifier)
    for line in _lines(classifier):
        note(line)
    return classifier


def _lines(classifier: WellClassifier) -> list[str]:
    accuracy = classifier.left_out.accuracy
    if not accuracy:
        return ["one labelled well: how well others are named cannot be estimated"]
    mean, worst = np.mean([*accuracy.values()]), min(accuracy, key=lambda name: accuracy[name])
    right = f"{mean:.0%} of rows right in the mean of wells, {accuracy[worst]:.0%} in the worst"
    return [f"{len(accuracy)} labelled wells, each named by the others: {right} ({worst})"]


def probabilities_of(
    classifier: WellClassifier, model: TabularModel, records: Records
) -> FloatArray:
    """Probability of every class in every row, [n, K].

    DataError where the classifier looks at the rows around, and the records have no order.
    """
    if not classifier.sees_context:
        records = replace(records, order=None)
    elif records.order is None:
        what = "classes depend on the rows above and below, and the table has no depth"
        raise DataError(what, where="depth", hint="bind it with --map depth=COLUMN")
    return classifier.probabilities(wells_of(model, records, classifier.shift))


def class_columns(classifier: WellClassifier, probabilities: FloatArray) -> dict[str, pl.Series]:
    """What `cluster` writes about the classes of rows, from probabilities [n, K]."""
    best = probabilities.argmax(1)
    columns = {
        "class": pl.Series(np.array(classifier.classes)[best]),
        "class_probability": pl.Series(probabilities.max(1)),
    }
    named = zip(classifier.classes, probabilities.T, strict=True)
    return columns | {f"probability:{name}": pl.Series(values) for name, values in named}


# The file: arrays by place, and what is no array beside them.


def _save(run: RunFolder, classifier: WellClassifier) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for i, own in enumerate(classifier.extractor.features):
        arrays |= {f"features.{i}.{n}": v for n, v in vars(own.whitening).items()}
        arrays |= {f"scales.{i}.centre": own.centre, f"scales.{i}.scale": own.scale}
    for i, layers in enumerate(classifier.extractor.layers):
        arrays |= {f"layers.{i}.{name}": value for name, value in vars(layers).items()}
    for name, every in vars(classifier.heads).items():
        arrays |= {f"heads.{i}.{name}": value for i, value in enumerate(every)}
    for i, trees in enumerate(classifier.boosted):
        one = {"baseline": trees.baseline, "sizes": trees.sizes, "classes": trees.classes}
        arrays |= {f"trees.{i}.{name}": value for name, value in one.items()}
        arrays |= {f"trees.{i}.nodes.{name}": value for name, value in trees.nodes.items()}
    model = classifier.model
    arrays |= {"model.prior": model.prior, "model.classes": model.classes}
    arrays |= {f"model.weights.{name}": value for name, value in model.weights.items()}
    meta = {
        "format": 2,
        "classes": classifier.classes,
        "views": len(classifier.extractor.features),
        "layers": len(classifier.extractor.layers),
        "boosted": len(classifier.boosted),
        "weights": classifier.weights,
        "shift": classifier.shift and classifier.shift.to_dict(),
        "accuracy": dict(classifier.left_out.accuracy),
        "curve": [*classifier.left_out.curve.items()],
    }
    write_arrays(run.classifier_file, arrays, meta)


def load_classifier(run: RunFolder) -> WellClassifier | None:
    """Read the classifier of a run, None where it is not guided; RunFolderError if damaged."""
    if not run.has(run.classifier_file):
        return None
    path = run.whole(run.classifier_file)
    with reading_arrays(path, "classifier") as (meta, arrays):

        def below(start: str) -> dict[str, NDArray[Any]]:
            return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}

        def heads(name: str, count: int) -> tuple[NDArray[Any], ...]:
            return tuple(arrays[f"heads.{i}.{name}"] for i in range(count))

        views, models = meta["views"], meta["layers"]
        features = [
            LogFeatures(Whitening(**below(f"features.{i}.")), **below(f"scales.{i}."))
            for i in range(views)
        ]
        layers = [HiddenMarkov(**below(f"layers.{i}.")) for i in range(models)]
        total, boosted = len(meta["classes"]), []
        for i in range(meta["boosted"]):
            one = {n: arrays[f"trees.{i}.{n}"] for n in ("baseline", "sizes", "classes")}
            boosted.append(BoostedTrees(**one, nodes=below(f"trees.{i}.nodes."), total=total))
        one = {n: arrays[f"model.{n}"] for n in ("prior", "classes")}
        model = SemiSupervised(below("model.weights."), **one, total=total)
        curve = {int(size): float(value) for size, value in meta["curve"]}
        return WellClassifier(
            tuple(meta["classes"]),
            FeatureExtractor(tuple(features), tuple(layers)),
            Heads(heads("slopes", views), heads("intercepts", views), heads("shares", models)),
            tuple(boosted),
            model,
            tuple(meta["weights"]),
            LeftOut(meta["accuracy"], curve),
            meta["shift"] and GroupShift.from_dict(meta["shift"]),
        )
