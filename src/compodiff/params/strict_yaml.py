"""YAML that people write: a key that stands twice is refused, of which PyYAML would keep the last and hide the others.

DVC refuses it in params.yaml, too.
"""

from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"  # <<, which stands for keys of another mapping


class _StrictLoader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not in construct_mapping, where keys that << brought stand beside those that replace them.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            first = lines.setdefault((key.tag, key.value), line)
            if first != line:
                raise yaml.YAMLError(f"the key {key.value!r} stands in line {first} and in line {line}; keep one")
        return node


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises:
        yaml.YAMLError: it is no YAML, or a mapping has a key twice.
        ValueError: it holds a date that is none.
        RecursionError: it is nested too deeply.
    """
    loader = _StrictLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
