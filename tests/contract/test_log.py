"""The log contract on the logs that come with the core."""

from __future__ import annotations

import pytest

from liberator.log.embedded import EmbeddedLog
from liberator.log.memory import MemoryLog
from liberator.testing.log_contract import OrderedLogContract, PartitionedLogContract


class TestEmbeddedLog(OrderedLogContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path / "shop.log"

    def make(self):
        return EmbeddedLog(self.path)


class TestMemoryLog(OrderedLogContract):
    @pytest.fixture(autouse=True)
    def memory(self):
        self.first = MemoryLog()

    def make(self):
        return self.first.handle()


class TestPartitionedMemoryLog(PartitionedLogContract):
    @pytest.fixture(autouse=True)
    def memory(self):
        self.first = MemoryLog(partitions=2)

    def make(self):
        return self.first.handle()
