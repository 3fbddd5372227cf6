"""pytest fixture for your own notebooks and code.

`labauth_sandbox`, the sandbox in its first state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .sandbox import Lab


@pytest.fixture
def labauth_sandbox() -> Iterator[Lab]:
    """The running sandbox (`labauth_nb.sandbox.Lab`), reset before the test.

    The test's logins on it are forgotten after.
    """
    from .logins.logins import forget_sandbox, sandbox_lab

    lab = sandbox_lab()
    lab.reset()
    forget_sandbox()
    yield lab
    forget_sandbox()
    lab.reset()
