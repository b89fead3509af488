"""Configurations spread over files with ``defaults`` lists, read as data.

The layout is Hydra's: a file in ``trainer/`` fills the section ``trainer``, a list named
``defaults`` says which files lie below this one, and ``${a.b}`` stands for another value.
Nothing is imported, called or looked up outside the folder: what would have to be run is
left as it stands and reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from variolite.errors import RecipeError
from variolite.recipe.loading import parse_yaml

__all__ = ["Composed", "compose"]

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
            f"cannot read the configuration: {reason}", where=str(path), mend="check the path"
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
