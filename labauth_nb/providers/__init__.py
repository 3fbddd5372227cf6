"""The providers, by name.

To add one: a file of literals here, one in the sandbox, a test, a tutorial.
"""

from __future__ import annotations

from ..errors import InvalidInput, nearest
from .addresses import is_loopback, parsed
from .benchling import BENCHLING
from .dnanexus import DNANEXUS
from .foundry import FOUNDRY
from .model import (
    RETURN,
    SERVER,
    DeadToken,
    Env,
    Field,
    Flow,
    Method,
    Paging,
    Probe,
    Provider,
    spelled,
    whole_address,
    without_page,
)
from .qbench import QBENCH

PROVIDERS = {p.name: p for p in (BENCHLING, QBENCH, FOUNDRY, DNANEXUS)}

ELSEWHERE = {
    "benchling-warehouse": (
        "The Benchling Warehouse is a separate PostgreSQL database with its own user name and"
        " password, which none of Benchling's sign-in methods opens: make a warehouse login in"
        " Benchling (profile picture, Feature Settings, Warehouse) and connect with a PostgreSQL"
        " client such as psycopg or SQLAlchemy."
    ),
}
"""Names that people type and that are something else, with what to use."""

SECRET_FIELDS = sorted(
    {f.name for p in PROVIDERS.values() for m in p.methods for f in m.fields if f.secret}
)
PLAIN_FIELDS = sorted(
    {f.name for p in PROVIDERS.values() for m in p.methods for f in m.fields} - set(SECRET_FIELDS)
)


def find(name: str) -> Provider:
    """The provider called `name`. Raises `InvalidInput`, listing the choices and the nearest."""
    word = str(name).strip().lower()
    if word in ELSEWHERE:
        raise InvalidInput(ELSEWHERE[word])
    if word not in PROVIDERS:
        raise nearest(name, PROVIDERS, "provider")
    return PROVIDERS[word]


__all__ = [
    "ELSEWHERE",
    "PLAIN_FIELDS",
    "PROVIDERS",
    "RETURN",
    "SECRET_FIELDS",
    "SERVER",
    "DeadToken",
    "Env",
    "Field",
    "Flow",
    "Method",
    "Paging",
    "Probe",
    "Provider",
    "find",
    "is_loopback",
    "parsed",
    "spelled",
    "whole_address",
    "without_page",
]
