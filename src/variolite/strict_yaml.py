"""YAML that people wrote or passed on: read into plain types, with limits and one clear error."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from variolite.errors import SchemaError

_MOST_VALUES = 100_000
_MOST_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """Rejects a key given twice: plain YAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise SchemaError(f"line {line}: a name must be plain text")
            key = self.construct_object(key_node)
            if isinstance(key, bool):
                what = f"line {line}: the name {key_node.value!r} reads as {key} in YAML"
                raise SchemaError(what, hint=f"Put it in quotation marks: '{key_node.value}'")
            if key in lines:
                what = f"{key_node.value!r} is given twice, in lines {lines[key]} and {line}"
                raise SchemaError(what, hint="Keep one of them")
            lines[key] = line
        return super().construct_mapping(node, deep=deep)


def load_yaml(text: str, *, where: str | None = None) -> Any:
    """Read YAML that people wrote or passed on, into plain types.

    SchemaError if it is not valid, carries a tag, gives a key twice or one that reads as a
    boolean, or if its length or its aliases would fill the memory.
    """
    try:
        if len(text) > _MOST_BYTES:
            what = f"{len(text):,} characters are too many for a file of settings"
            raise SchemaError(what, hint=f"At most {_MOST_BYTES:,} are read")
        content = yaml.load(text, Loader=_Loader)
        if _values_within(content, {}) <= _MOST_VALUES:
            return content
        problem = f"its aliases expand to more than {_MOST_VALUES:,} values"
    except SchemaError as error:
        raise SchemaError(error.what, where=where, hint=error.hint) from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
    except RecursionError:
        problem = "it is nested too deeply"
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
        # PyYAML lets these out for the likes of `2020-13-45` or `!!bool x`.
        problem = "a value does not suit its type"
    raise SchemaError(f"not valid YAML ({problem})", where=where)


def read_yaml(path: Path, *, where: str | None = None) -> Any:
    """Read a YAML file as `load_yaml` does; SchemaError where it cannot be read."""
    try:
        # One character more than is allowed: never the whole of a huge file or a device.
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise SchemaError(what, where=where, hint="Check the path") from None
    except UnicodeDecodeError:
        raise SchemaError("is not UTF-8 text", where=where) from None
    return load_yaml(text, where=where)


def _values_within(node: Any, known: dict[int, float]) -> float:
    """Count values with every alias written out; infinite where a value holds itself."""
    if not isinstance(node, (dict, list)):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        inside = node.values() if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_values_within(value, known) for value in inside)
    return known[id(node)]
