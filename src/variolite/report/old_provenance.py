"""Where the run comes from: what is needed to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from variolite.records.splits import Split
from variolite.report.blocks import Block, Section, fold, paragraph, table
from variolite.report.lettering import integer, plain
from variolite.report.markup import Markup, element
from variolite.report.run_files import RunFiles
from variolite.report.wording import counted

__all__ = ["duration", "provenance_section"]

LONGEST_LIST = 60
DEEPEST = 4
MOST_GROUPS = 200
_NAMES = {"seconds": "time taken", "command": "command line"}


def provenance_section(files: RunFiles) -> Section:
    """Return versions, seed, split, command, data and times, as far as the folder tells."""
    blocks: list[Block] = []
    stated = flattened(files.provenance)
    environment = (
        flattened(files.environment.model_dump(exclude_none=True)) if files.environment else {}
    )
    if environment:
        blocks.append(element("h4", "Made with"))
        blocks.append(_facts(environment))
    else:
        blocks.append(
            paragraph(
                "No environment.json: versions, device and command are unknown.", kind="missing"
            )
        )
    further = {name: fact for name, fact in stated.items() if environment.get(name) != fact}
    if further:
        blocks.append(element("h4", "Stated by the model file"))
        blocks.append(_facts(further))
    elif files.model is None:
        blocks.append(
            paragraph("No model/model.json: the folder holds no trained model.", kind="missing")
        )
    blocks.append(element("h4", "Split"))
    blocks.append(_split(files.split))
    if files.recipe_text:
        blocks.append(
            fold("The resolved recipe, recipe.yaml", element("pre", files.recipe_text.rstrip()))
        )
    else:
        blocks.append(paragraph("No recipe.yaml in the folder.", kind="missing"))
    return Section("provenance", "Provenance", tuple(blocks))


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
        return integer(value)
    if isinstance(value, (list, tuple)):
        shown = [str(entry) for entry in value[:LONGEST_LIST]]
        more = [f"and {len(value) - LONGEST_LIST} more"] if len(value) > LONGEST_LIST else []
        separator = " " if key == "command" else "; " if any(" " in s for s in shown) else ", "
        return separator.join(shown + more) or "none"
    return str(value)


def _names(groups: Sequence[str]) -> str:
    shown = ", ".join(groups[:MOST_GROUPS])
    more = len(groups) - MOST_GROUPS
    return f"{shown} and {more:,} more" if more > 0 else shown or "none"


def _facts(facts: Mapping[str, str]) -> Markup:
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value))
        for name, value in facts.items()
    ]
    return element("table", element("tbody", *rows), class_="facts")


def _split(split: Split | None) -> Markup:
    if split is None:
        return paragraph("No split.json: which groups were held out is unknown.", kind="missing")
    rows = [
        (name, f"{len(groups):,}", _names(groups))
        for name, groups in (
            ("train", split.train),
            ("validation", split.validation),
            ("test", split.test),
        )
    ]
    total = sum(len(groups) for groups in (split.train, split.validation, split.test))
    return element(
        "div",
        paragraph(
            f"{counted(total, 'group')}, each on one side only; drawn with seed {split.seed}."
        ),
        table(("side", "groups", "names"), rows),
        class_="split",
    )
