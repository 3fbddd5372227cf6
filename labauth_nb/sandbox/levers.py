"""`Lever`: a state of a site, changed by `Lab.set`. `FAULTS`: how `Lab.next` spoils responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


def _number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < float("inf")


def _texts(value: Any) -> bool:
    listed = isinstance(value, list | tuple | set | frozenset)
    return listed and all(isinstance(each, str) for each in value)


KINDS: dict[str, Callable[[Any], bool]] = {
    "True or False": lambda value: isinstance(value, bool),
    "seconds": _number,
    "seconds or None": lambda value: value is None or _number(value),
    "status": _number,
    "text": lambda value: isinstance(value, str),
    "list of texts": _texts,
}
"""The kinds of a lever, as a person reads them, and what tells whether a value is of that kind."""


class Lever(Generic[T]):
    """A state of a site that `Lab.set` changes: read as an attribute, checked when it is written.

    `default`: the state at first. `kind`: one of `KINDS`. `help`: what it does. `choices`: the
    values that it may have, where they are few.
    """

    def __init__(self, default: T, kind: str, help: str, choices: tuple[T, ...] = ()) -> None:
        self.default, self.kind, self.help, self.choices = default, kind, help, choices

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, site: None, owner: type) -> Lever[T]: ...
    @overload
    def __get__(self, site: object, owner: type) -> T: ...
    def __get__(self, site: object, owner: type) -> Lever[T] | T:
        if site is None:
            return self
        state: T = site.__dict__.get(self.name, self.default)
        return state

    def __set__(self, site: object, value: T) -> None:
        if not self.takes(value):
            raise ValueError(f"{self.name} takes {self.values()}.")
        site.__dict__[self.name] = value

    def takes(self, value: Any) -> bool:
        """Whether `value` is of this lever's kind, and one of its choices."""
        return KINDS[self.kind](value) and (not self.choices or value in self.choices)

    def values(self) -> str:
        """What it takes, in words."""
        return f"one of {', '.join(map(repr, self.choices))}" if self.choices else self.kind


FAULTS: dict[int | str, str] = {
    429: "too many requests; says to wait `seconds`",
    500: "an error in the provider's shape",
    502: "an error in the provider's shape",
    503: "an error in the provider's shape",
    504: "an error in the provider's shape",
    "slow": "the right response, after `seconds`",
    "html": "503 and a web page",
    "truncated": "200 and half of a JSON body, then the connection is closed",
}
"""How `Lab.next` can spoil a response."""


@dataclass
class Fault:
    """What the next `times` requests whose path contains `path` get instead: one of `FAULTS`."""

    response: int | str
    times: int
    path: str
    seconds: float
