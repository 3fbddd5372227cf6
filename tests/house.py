"""The house as its imports draw it: rooms are files of labauth_nb, wings its folders.

`python tests/house.py` prints the drawing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent / "labauth_nb"
FLOORS = (
    ("clocks", "masking"),
    ("errors", "sandbox"),
    ("providers", "responses"),
    ("tokens",),
    ("credentials", "sessions"),
    ("logins",),
    ("notebook",),
    ("__init__", "pytest_plugin"),
)
"""The order of the wings, from the ground up: the only table there is."""

Arrows = dict[str, set[str]]
"""Which rooms a room imports; rooms are named as in "tokens.grants", a wing's front door as in "tokens"."""


def rooms() -> dict[str, Path]:
    """Each room's name and file."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def wing(room: str) -> str:
    return room.partition(".")[0]


def floor(room: str) -> int:
    """How high the room's wing stands, 0 is the ground. Raises `ValueError` for a wing that is not in the plan."""
    for height, wings in enumerate(FLOORS):
        if wing(room) in wings:
            return height
    raise ValueError(f"{room} stands in a wing that FLOORS does not have")


def _named(room: str, path: Path, node: ast.ImportFrom) -> Iterator[str]:
    """The dotted names, from the package's root, that an import may mean."""
    if node.level:
        parts = path.relative_to(ROOT).parts[:-1]
        base = [*parts[: len(parts) - node.level + 1]]
    elif (node.module or "").partition(".")[0] == ROOT.name:
        base = []
    else:
        return
    module = (node.module or "").split(".") if node.level else (node.module or "").split(".")[1:]
    base += [part for part in module if part]
    for alias in node.names:
        yield ".".join([*base, alias.name])


def arrows() -> Arrows:
    """Every import of one room by another, wherever it stands in the file: at the top, in a function, for types."""
    known = rooms()
    found: Arrows = {room: set() for room in known}
    for room, path in known.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            for name in _named(room, path, node):
                target = name if name in known else name.rpartition(".")[0] or "__init__"
                if target in known and target != room:
                    found[room].add(target)
    return found


def climbs(found: Arrows) -> set[tuple[str, str]]:
    """The arrows between wings that do not run down."""
    return {(a, b) for a in found for b in found[a] if wing(a) != wing(b) and floor(b) >= floor(a)}


def circles(found: Arrows) -> set[frozenset[str]]:
    """The sets of rooms that import each other, by whatever way round."""
    reach: Arrows = {}
    for room in found:
        seen, todo = set(), [room]
        while todo:
            for target in found[todo.pop()] - seen:
                seen.add(target)
                todo.append(target)
        reach[room] = seen
    together = {room: frozenset(r for r in reach[room] if room in reach[r]) for room in found}
    return {ring for ring in together.values() if len(ring) > 1}


def drawn(found: Arrows) -> str:
    """The wings and the arrows between them, as a mermaid flowchart (top: the highest floor)."""
    wings = {(wing(a), wing(b)) for a in found for b in found[a] if wing(a) != wing(b)}
    lines = ["flowchart TD"]
    lines += [f"    {a} --> {b}" for a, b in sorted(wings, key=lambda e: (-floor(e[0]), e))]
    return "\n".join(lines)


if __name__ == "__main__":
    print(drawn(arrows()))
