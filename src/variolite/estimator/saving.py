"""An estimator as a folder: the model file, with the arguments in its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from variolite.errors import ModelFileError
from variolite.estimator.settings import arguments_from_json, arguments_to_json
from variolite.estimator.tables import Kind
from variolite.training import (
    EpochRecord,
    RunFolder,
    TabularModel,
    load_model,
    read_history,
    save_model,
    write_history,
)

__all__ = ["Fit", "load_fit", "save_fit"]

HISTORY = "history.jsonl"


@dataclass(frozen=True)
class Fit:
    """What an estimator knows after fitting, beside its model and history.

    Attributes
    ----------
    member
        Member in use.
    kind
        Kind of the table it was fitted on.
    by_name
        Whether columns are found by name.
    columns
        Names of the columns, where they have any.
    width
        Number of columns.
    """

    member: int
    kind: Kind
    by_name: bool
    columns: tuple[str, ...]
    width: int


def save_fit(
    folder: Path,
    arguments: Mapping[str, Any],
    model: TabularModel,
    history: list[EpochRecord],
    fit: Fit,
) -> None:
    """Write a fitted estimator."""
    facts = {"arguments": arguments_to_json(arguments), "fit": asdict(fit)}
    provenance = {**model.provenance, "estimator": facts}
    save_model(folder, replace(model, provenance=provenance))
    write_history(folder / HISTORY, history)


def load_fit(folder: Path) -> tuple[dict[str, Any], TabularModel, list[EpochRecord], Fit]:
    """Read what `save_fit` wrote, or the run folder of ``variolite fit``.

    Raises
    ------
    ModelFileError
        If there is no model, or it is damaged or of a newer format.
    """
    run = RunFolder(folder)
    model = run.model() if run.finished else load_model(folder)
    history = folder / HISTORY
    epochs = read_history(history) if history.is_file() else []
    facts = model.provenance.get("estimator")
    if facts is None:
        schema = model.schema.schema
        used = tuple(str(column.source) for column in (*schema.inputs, *schema.conditions))
        arguments = {"schema": schema, "recipe": run.recipe() if run.finished else None}
        return arguments, model, epochs, Fit(0, "polars", True, used, len(used))
    try:
        fit = Fit(**{**facts["fit"], "columns": tuple(facts["fit"]["columns"])})
        return arguments_from_json(facts["arguments"]), model, epochs, fit
    except (KeyError, TypeError) as error:
        raise ModelFileError(
            f"the arguments of the estimator cannot be read ({error})",
            where=str(folder),
            mend="save it again with the version that trained it",
        ) from None
