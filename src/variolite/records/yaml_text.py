"""YAML as people write it: repeated keys refused, lists on one line."""

from __future__ import annotations

from typing import Any

import yaml

from variolite.errors import SchemaError

__all__ = ["dump_yaml", "load_yaml"]


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice: plain YAML keeps the last one silently."""

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
                raise SchemaError(
                    f"line {line}: the name {key_node.value!r} reads as {key} in YAML",
                    mend=f"Put it in quotation marks: '{key_node.value}'",
                )
            if key in lines:
                raise SchemaError(
                    f"{key_node.value!r} is given twice, in lines {lines[key]} and {line}",
                    mend="Keep one of them",
                )
            lines[key] = line
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line."""


_Dumper.add_representer(
    list,
    lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True),
)


def load_yaml(text: str, *, where: str | None = None) -> Any:
    """Read YAML into plain types.

    Raises
    ------
    SchemaError
        If it is not valid YAML, a key occurs twice, or a key reads as true or false.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except SchemaError as error:
        raise SchemaError(error.what, where=where, mend=error.mend) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SchemaError(f"not valid YAML ({' '.join(str(error).split())})", where=where) from None


def dump_yaml(data: Any) -> str:
    """Write plain types as YAML, keys in the order given."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
