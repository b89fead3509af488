"""Where a run comes from: what is needed to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from variolite.records.splits import Split
from variolite.report.formatting import counted, plain
from variolite.report.page import Block, Code, Facts, Fold, Heading, Paragraph, Section, Table

if TYPE_CHECKING:
    from variolite.training.run_folder import RunFiles

LONGEST_LIST = 60
DEEPEST = 4
MOST_GROUPS = 200
_NAMES = {"seconds": "time taken", "command": "command line"}


def about_run(files: RunFiles) -> str:
    """Return one line for the head of the page: recipe, data, start."""
    parts = [f"Recipe {files.recipe_name}" if files.recipe_name else "Recipe not named"]
    title = files.recipe.get("title")
    if isinstance(title, str) and title:
        parts[0] += f" ({title})"
    data = files.data
    if "name" in data:
        kept, read = data.get("rows_kept"), data.get("rows")
        both = isinstance(kept, int) and isinstance(read, int)
        parts.append(f"data {data['name']}" + (f" ({kept:,} of {read:,} used)" if both else ""))
    if files.environment and files.environment.get("started"):
        parts.append(f"trained {str(files.environment['started'])[:10]}")
    return " · ".join(parts)


def provenance_section(files: RunFiles) -> Section:
    """Return versions, seed, split, command, data and times, as far as the folder tells."""
    blocks: list[Block] = []
    stated = flattened(files.provenance)
    environment = flattened(files.environment or {})
    if environment:
        blocks += [Heading("Made with"), Facts(environment)]
    else:
        unknown = "No environment.json: versions, device and command are unknown."
        blocks.append(Paragraph(unknown, "missing"))
    further = {name: fact for name, fact in stated.items() if environment.get(name) != fact}
    if further:
        blocks += [Heading("Stated by the model file"), Facts(further)]
    elif files.model is None:
        untrained = "No model/model.json: the folder holds no trained model."
        blocks.append(Paragraph(untrained, "missing"))
    blocks += [Heading("Split"), *_split(files.split)]
    if files.recipe_text:
        recipe = Code(files.recipe_text.rstrip())
        blocks.append(Fold("The resolved recipe, recipe.yaml", (recipe,)))
    else:
        blocks.append(Paragraph("No recipe.yaml in the folder.", "missing"))
    return Section("provenance", "Provenance", blocks)


def duration(seconds: float) -> str:
    """Write a length of time in the units a person would use."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def flattened(facts: Mapping[str, object], prefix: str = "", depth: int = 0) -> dict[str, str]:
    """Return nested facts as one level of name and text, the names joined with commas."""
    flat: dict[str, str] = {}
    for key, value in facts.items():
        bare = _NAMES.get(str(key), plain(str(key)))
        name = f"{prefix}, {bare}" if prefix else bare
        if isinstance(value, Mapping) and depth < DEEPEST:
            flat.update(flattened(value, name, depth + 1))
        elif value is not None:
            flat[name] = _written(str(key), value)
    return flat


def _written(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "seconds" and isinstance(value, (int, float)):
        return duration(float(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and (key.startswith("rows") or key == "parameters"):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        shown = [str(entry) for entry in value[:LONGEST_LIST]]
        more = [f"and {len(value) - LONGEST_LIST} more"] if len(value) > LONGEST_LIST else []
        separator = " " if key == "command" else "; " if any(" " in s for s in shown) else ", "
        return separator.join(shown + more) or "none"
    return str(value)


def _names(groups: Sequence[str]) -> str:
    shown, more = ", ".join(groups[:MOST_GROUPS]), len(groups) - MOST_GROUPS
    return f"{shown} and {more:,} more" if more > 0 else shown or "none"


def _split(split: Split | None) -> list[Block]:
    if split is None:
        return [Paragraph("No split.json: which groups were held out is unknown.", "missing")]
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    total = counted(sum(len(groups) for groups in sides.values()), "group")
    rows = [(name, f"{len(groups):,}", _names(groups)) for name, groups in sides.items()]
    return [
        Paragraph(f"{total}, each on one side only; drawn with seed {split.seed}."),
        Table(("side", "groups", "names"), rows),
    ]
