"""The source contract on the in-memory source: the suite itself is tried here."""

from __future__ import annotations

import pytest

from liberator.schema import Kind
from liberator.testing.events import create, delete, table, transaction, update
from liberator.testing.memory import ListSource
from liberator.testing.source_contract import SourceContract

TABLE = table("contract", {"id": Kind.INT64, "note": Kind.STRING}, key=["id"])
MAKE = {"insert": create, "update": update, "delete": delete}


class TestListSource(SourceContract):
    batch = 1000

    @pytest.fixture(autouse=True)
    def database(self):
        self.script = []

    def make(self):
        return ListSource("contract", self.script, batch=self.batch, snapshot=True)

    def change(self, *changes):
        events = [MAKE[operation](TABLE, **values) for operation, values in changes]
        self.script.append(transaction(10 * len(self.script) + 10, *events, source="contract"))


class TestListSourceThatCutsTransactions(TestListSource):
    batch = 2
