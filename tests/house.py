"""The house as its imports draw it: rooms are files of labauth_nb, wings its folders.

`python tests/house.py` prints the drawing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
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
"""Which rooms a room imports; rooms are named as in "tokens.grants", a wing's front door as in
"tokens"."""


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
    """How high the room's wing stands, 0 is the ground. Raises `ValueError` for a wing that is not
    in the plan."""
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


@cache
def arrows() -> Arrows:
    """Every import of one room by another, wherever it stands in the file: at the top, in a
    function, for types."""
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


def taken_privately() -> set[str]:
    """The private names that a wing takes from another by an import, as in "logins.signins:
    tokens.grants._x"."""
    found = set()
    for room, path in rooms().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                for name in _named(room, path, node):
                    if name.rpartition(".")[2].startswith("_") and wing(name) != wing(room):
                        found.add(f"{room}: {name}")
    return found


def climbs(found: Arrows) -> set[tuple[str, str]]:
    """The arrows between wings that do not run down."""
    return {(a, b) for a in found for b in found[a] if wing(a) != wing(b) and floor(b) >= floor(a)}


def reach(found: Arrows) -> Arrows:
    """What each room imports, and what that imports, and so on."""
    whole: Arrows = {}
    for room in found:
        seen, todo = set(), [room]
        while todo:
            for target in found[todo.pop()] - seen:
                seen.add(target)
                todo.append(target)
        whole[room] = seen
    return whole


def circles(found: Arrows) -> set[frozenset[str]]:
    """The sets of rooms that import each other, by whatever way round."""
    whole = reach(found)
    together = {room: frozenset(r for r in whole[room] if room in whole[r]) for room in found}
    return {ring for ring in together.values() if len(ring) > 1}


def drawn(found: Arrows) -> str:
    """The wings with their rooms, and the arrows between wings, as a mermaid flowchart; an implied
    arrow is left out."""
    rows: Arrows = {wing(room): set() for room in found}
    for a in found:
        rows[wing(a)] |= {wing(b) for b in found[a]} - {wing(a)}
    lines = ["flowchart TD"]
    for each in sorted(rows, key=lambda w: (-floor(w), w)):
        inside = sorted(room.partition(".")[2] for room in found if room.startswith(f"{each}."))
        lines.append(
            f'    {each}["<b>{each}</b><br>{", ".join(inside)}"]' if inside else f"    {each}"
        )
    whole = reach(rows)
    for a in sorted(rows, key=lambda w: (-floor(w), w)):
        implied = set().union(*(whole[b] for b in rows[a]))
        lines += [f"    {a} --> {b}" for b in sorted(rows[a] - implied)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(drawn(arrows()))
