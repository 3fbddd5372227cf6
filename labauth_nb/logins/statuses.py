"""What is told of logins: the five values of a status, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from ..providers import PROVIDERS

if TYPE_CHECKING:
    import pandas

SIGNED_OUT, VALID, EXPIRING, EXPIRED, UNKNOWN = (
    "signed out",
    "valid",
    "expiring",
    "expired",
    "valid with unknown expiry",
)


class Status:
    """All logins as rows; shows as a text table, or an HTML one in a notebook.

    `frame()` gives a DataFrame.
    """

    COLUMNS = (
        "login",
        "provider",
        "address",
        "method",
        "who am I",
        "status",
        "time left",
        "credentials",
        "note",
    )

    def __init__(self, rows: list[tuple[str, ...]], stories: list[str]) -> None:
        """`rows`: the cells of `COLUMNS`, one per login.

        `stories`: where each one's credentials came from.
        """
        self.rows, self.stories = rows, stories
        noted = any(row[-1] for row in self.rows)
        self._columns = self.COLUMNS if noted else self.COLUMNS[:-1]

    def __iter__(self) -> Iterator[dict[str, str]]:
        return (dict(zip(self.COLUMNS, row, strict=True)) for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def frame(self) -> pandas.DataFrame:
        """The rows as a DataFrame."""
        import pandas

        return pandas.DataFrame(self.rows, columns=list(self.COLUMNS))

    def __repr__(self) -> str:
        if not self.rows:
            return "Not signed in anywhere. To sign in, type %labauth login " + " | ".join(
                PROVIDERS
            )
        table = [self._columns, *(row[: len(self._columns)] for row in self.rows)]
        widths = [max(len(row[i]) for row in table) for i in range(len(self._columns))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        return "\n".join([*lines, *self.stories])

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{escape(repr(self))}</p>"
        head = "".join(f"<th>{escape(c)}</th>" for c in self._columns)
        rows = (row[: len(self._columns)] for row in self.rows)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows
        )
        stories = "".join(f"<p>{escape(story)}</p>" for story in self.stories)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{stories}"
