"""Which wells a guided run holds out, and how well it names their rocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.corelogs.guided.run import load_classifier, probabilities_of
from variolite.records import Records, Schema
from variolite.records.records import text_values
from variolite.scoring.agreement import calibration_error
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut
from variolite.scoring.supervised import class_entries
from variolite.scoring.tabular_run import Levels
from variolite.training import RunFolder

FEW = 12
"""Labelled wells below which all of them are trained on."""


def few_labelled(schema: Schema, frame: pl.DataFrame, group: NDArray[np.str_]) -> set[str]:
    """Return the groups with labels where these are few: none of them is spared for a score.

    Where nearly all groups have labels there is no other choice.
    """
    if not schema.labels:
        return set()
    labelled = set(group[text_values(frame[str(schema.labels[0].source)]) != ""].tolist()) - {""}
    others = set(group.tolist()) - labelled - {""}
    return labelled if len(labelled) < FEW and len(others) >= 2 else set()


def class_scores(run: RunFolder) -> Callable[[Records, HeldOut, Levels], Evaluation] | None:
    """Return what scores the classes that a run gives to held-out wells; None if not guided."""
    classifier, model = load_classifier(run), run.model()
    if classifier is None:
        return None

    def scores(test: Records, held_out: HeldOut, levels: Levels) -> Evaluation:
        """Score on labels that the run did not see, at every level."""
        if not test.labels:
            return Evaluation()
        probabilities = probabilities_of(classifier, model, test)
        names = np.array(classifier.classes)[probabilities.argmax(1)]
        label, truth = next(iter(test.labels.items()))
        entries: list[Entry] = []
        for level, predicted in levels({label: names}).items():
            if level in held_out.test_labels:
                classes = held_out.test_labels[level].classes
                # A class that this level does not map is none of them.
                code = {name: i for i, name in enumerate(classes)}
                codes = np.array([code.get(name, len(classes)) for name in predicted])
                scored = [codes[held_out.kept]]
                entries += class_entries(scored, held_out, level, "guided", "few_labels")
        known = truth != ""
        if not known.any():
            return Evaluation(tuple(entries))
        error = calibration_error((names == truth)[known], probabilities.max(1)[known])
        note = f"guided: the probability of the class is off by {error:.3f} in the mean (expected "
        return Evaluation(tuple(entries), (f"{note}calibration error)",))

    return scores
