"""What every test has at hand: real servers as fixtures, and the order in which tests run.

Cheap tests come first, so that a broken function is reported within seconds and not behind a kill test.
The fixtures themselves are plugins beside this file, one per kind of server.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

pytest_plugins = ["tests.fix_postgres", "tests.fix_mysql"]

TESTS = Path(__file__).parent

#: Folders by cost; what lies directly in tests/ (layers, documentation) is as cheap as unit tests.
ORDER = ("unit", "contract", "property", "integration", "acceptance")


def pytest_configure() -> None:
    # Tests start hundreds of processes of ours; without bytecode each would compile every module anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Whoever ends the run with SIGTERM must not leave servers behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_cost)  # stable: within a folder the order stays


def _cost(item: pytest.Item) -> int:
    path = item.path
    folder = path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else ""
    return ORDER.index(folder) if folder in ORDER else 0
