"""Fields of science: one mapping, and what a field offers to the command line and to run folders.

A new field is a new folder whose module ``field`` holds an object `FIELD` of the shape of
`Field`, and one line in `FIELDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from variolite.errors import ModelFileError

if TYPE_CHECKING:
    from variolite.progress import Progress
    from variolite.recipe import BaseRecipe
    from variolite.training import RunFolder

Paths = Path | list[Path]
"""One path, or several whose content belongs together."""

FIELDS: dict[str, str] = {
    "tabular": "variolite.corelogs.field",
    "crystals": "variolite.crystals.field",
    "frameworks": "variolite.frameworks.field",
}
"""Kind of recipe to the module that serves it; a module is imported when it is first needed."""


def name_of(data: Paths) -> str:
    """Return what reports call data: the name of the only path or of the first of several."""
    if isinstance(data, list):
        return f"{data[0].name} and {len(data) - 1} more"
    return data.name


class Field(Protocol):
    """What every field offers.

    The command line hands an option to a method only where it was given, under the name of
    its parameter, and refuses options that a method does not take. A field may offer
    ``compare``, ``cluster``, ``impute``, ``generate``, ``score_structures`` and ``demo`` too; a
    verb that it lacks is refused with one line.

    ``kind`` is that of its recipes, the key in `FIELDS`; ``model_kind`` that of its model files,
    such as ``variolite.tabular_vae``; ``subject`` what its runs are on, in messages; ``recipe``
    the class of its recipes.
    """

    kind: str
    model_kind: str
    subject: str
    recipe: type[BaseRecipe]

    def train(
        self, recipe: Any, data: Paths, out: Path, progress: Progress, **options: Any
    ) -> RunFolder:
        """Train a recipe on data and write the run folder; an interrupted run resumes."""
        ...

    def load_model(self, folder: Path) -> Any:
        """Load the model from the folder ``model`` of a run, on the CPU."""
        ...

    def score(self, run: RunFolder, data: Paths, progress: Progress, **options: Any) -> Any:
        """Score a run on data it was not trained on; write and return the scorecard."""
        ...

    def format_scores(self, card: Any) -> str:
        """Lay out a scorecard as plain text."""
        ...

    def report(self, run: RunFolder) -> Path:
        """Write the run's page and return its path."""
        ...

    def encode(
        self, run: RunFolder, data: Paths, out: Path, progress: Progress, **options: Any
    ) -> None:
        """Write the latents of data."""
        ...

    def reconstruct(
        self, run: RunFolder, data: Paths, out: Path, progress: Progress, **options: Any
    ) -> None:
        """Write data beside, or as, its reconstruction."""
        ...

    def doctor(self, run: RunFolder, data: Paths | None, progress: Progress, **options: Any) -> Any:
        """Evaluate the latent space; the result has ``lines()`` and ``to_dict()``."""
        ...


class Deferred:
    """A verb that is a function of another module, imported when it is first called for.

    The command line knows its options without torch, and nothing is handed through in between.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __get__(self, field: object, owner: type) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module(self._module), self._name)
        return function


def field_of_kind(kind: str) -> Field:
    """Return the field that serves a kind of recipe; a KeyError where there is none."""
    return cast(Field, import_module(FIELDS[kind]).FIELD)


def field_of_model(kind: str, where: Path) -> Field:
    """Return the field whose model files are of a kind; ``where`` is the file that names it."""
    for field in all_fields():
        if field.model_kind == kind:
            return field
    raise ModelFileError(
        f"no part of this version of Variolite knows models of kind {kind:.60}",
        where=str(where),
        hint="upgrade variolite",
    )


def all_fields() -> Iterator[Field]:
    """Import and yield one field after another."""
    for kind in FIELDS:
        yield field_of_kind(kind)


def field_names() -> dict[str, str]:
    """Name of every field, that of its folder, to its kind of recipe; nothing is imported."""
    return {module.split(".")[-2]: kind for kind, module in FIELDS.items() if "." in module}
