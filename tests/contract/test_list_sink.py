"""The sink contract on the in-memory sink: the suite itself is tried here."""

from __future__ import annotations

import pytest

from liberator.testing.memory import ListSink, Store
from liberator.testing.sink_contract import MirrorContract


class TestListSink(MirrorContract):
    @pytest.fixture(autouse=True)
    def target(self):
        self.store = Store()

    def make(self, name="sink"):
        return ListSink(name, self.store)

    def rows(self, table):
        return self.store.rows(f"test.{table.schema}.{table.table}")
