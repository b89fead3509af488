"""What all pages of results share: where they come from, tables, Markdown and compact JSON."""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import describe, load

from variolite.records import write_text_atomic

RESULTS = Path(__file__).resolve().parent / "results"

DIGITS = 6
"""Significant digits of the numbers in JSON."""

LINE, RECORD = 120, 600
"""Characters that a dictionary, and an entry of a list, may take in JSON before it is split."""


def command(module: str, arguments: argparse.Namespace) -> str:
    """Return the command line with all options, defaults included, but for folders."""
    words = ["python -m", module]
    for name, value in vars(arguments).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, Path) or value is None or value is False or value == []:
            continue
        if value is True:
            words.append(option)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [option, *(str(one) for one in value)]
        else:
            words += [option, str(value)]
    return " ".join(words)


def provenance(command: str, packages: Sequence[str] = ()) -> dict[str, Any]:
    """Return command, date, commit, machine, load and versions; call it before measuring."""
    versions = {"Python": platform.python_version(), **{name: version(name) for name in packages}}
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": describe(),
        "load": [load()],
        "versions": versions,
    }


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def origin(made: Mapping[str, Any]) -> str:
    """Return a sentence on where figures come from."""
    words = [f"`{made['command']}`", made["date"]]
    if made.get("commit"):
        words.append(f"commit {made['commit']}")
    loads = [f"{value:.1f}" for value in made.get("load", ()) if value is not None]
    busy = f" (load {' at the start, '.join(loads)}{' at the end' if loads[1:] else ''})"
    versions = ", ".join(" ".join(pair) for pair in made.get("versions", {}).items())
    text = f"{', '.join(words)}, on {made['machine']}{busy if loads else ''}"
    return f"{text}; {versions}." if versions else f"{text}."


def write_page(
    target: Path,
    title: str,
    lines: Sequence[str],
    content: Mapping[str, Any],
    made: Mapping[str, Any] | None = None,
) -> None:
    """Write the lines below their title and origin to ``.md``, and the content to ``.json``.

    ``made`` is None where the parts of the content have origins of their own.
    """
    head = [f"# {title}", ""]
    if made is not None:
        head += [origin(made), ""]
        content = {**made, **content}
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(target.with_suffix(".json"), compact(plain(content)) + "\n")
    write_text_atomic(target.with_suffix(".md"), "\n".join([*head, *lines]).rstrip() + "\n")
    print(target.with_suffix(".md"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, numbers to the right."""
    return [
        "| " + " | ".join(head) + " |",
        "|" + "|".join(" --- " if i == 0 else " ---: " for i in range(len(head))) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def plain(value: Any) -> Any:
    """Return what JSON can hold: numbers are rounded, and null where they are not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def compact(value: Any, room: int = LINE, indent: int = 0) -> str:
    """Return JSON in which a record takes one line."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(flat) <= room or not isinstance(value, dict | list):
        return flat
    inner = " " * (indent + 1)
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(key, ensure_ascii=False)}: {compact(one, LINE, indent + 1)}"
            for key, one in value.items()
        ]
        opening, closing = "{", "}"
    elif all(isinstance(one, int | float) for one in value):
        return "[\n" + textwrap.indent("\n".join(textwrap.wrap(flat[1:-1], LINE)), inner) + "]"
    else:
        parts = [compact(one, RECORD, indent + 1) for one in value]
        opening, closing = "[", "]"
    body = ",\n".join(inner + part for part in parts)
    return f"{opening}\n{body}\n{' ' * indent}{closing}"
