"""The stdout sink prints one JSON object per event."""

from __future__ import annotations

import json
import sys

import pytest

from connectors.stdout import Stdout
from liberator.errors import SinkError
from liberator.log import Cursor
from liberator.schema import Kind
from liberator.testing.events import create, delete, table, transaction

ORDERS = table("orders", {"id": Kind.INT64, "note": Kind.STRING}, key=["id"])


def test_every_event_is_one_line_of_json(capsys):
    sink = Stdout("out", Stdout.Config(type="stdout"))
    assert sink.open() is None and not sink.keeps_cursor
    sink.write(transaction(1, create(ORDERS, id=1, note="line\nbreak é"), delete(ORDERS, id=1)))
    sink.commit(Cursor("log", {"": 2}))
    lines = capsys.readouterr().out.splitlines()
    first, second = map(json.loads, lines)
    assert first["topic"] == "test.public.orders"
    assert (first["op"], first["after"]) == ("c", {"id": 1, "note": "line\nbreak é"})
    assert (second["op"], second["before"], second["after"]) == ("d", {"id": 1}, None)
    assert "é" in lines[0]


def test_a_reader_that_has_gone_is_an_error(monkeypatch):
    class Gone:
        def writelines(self, lines):
            raise BrokenPipeError

        flush = writelines

    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(SinkError, match="nobody reads") as caught:
        Stdout("out", Stdout.Config(type="stdout")).write(transaction(1, create(ORDERS, id=1)))
    assert not caught.value.retryable
