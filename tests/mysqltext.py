"""Physical values beside the text that MySQL and MariaDB print for them, read in another way than the product
does."""

from __future__ import annotations

import datetime
import struct
from decimal import Decimal
from typing import Any

import pytest

from connectors.mysql.values import decimals
from liberator.schema import Kind, LogicalType


def agrees(type_: LogicalType, text: bytes, value: Any) -> None:
    """A value is what the server's text says."""
    match type_.kind:
        case Kind.INT16 | Kind.INT32 | Kind.INT64 | Kind.UINT64:
            assert value == int(text)
        case Kind.DECIMAL:
            assert Decimal(text.decode()) == Decimal(decimals.spell(value, type_.scale or 0))
        case Kind.FLOAT32:
            assert struct.unpack("f", struct.pack("f", value))[0] == value
            assert float(text) == pytest.approx(value, rel=1e-5)
        case Kind.FLOAT64:
            assert float(text) == value
        case Kind.BYTES | Kind.GEOMETRY | Kind.BITS | Kind.ARRAY:
            assert raw(type_.kind, value, len(text)) == text
        case _ if isinstance(value, str):
            assert value == text.decode()
        case Kind.DATE:
            assert (datetime.date(1970, 1, 1) + datetime.timedelta(value)).isoformat() == text.decode()
        case _:
            moment = (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=value)).isoformat(" ")
            printed = text.decode() if type_.kind is not Kind.TIME else "1970-01-01 " + text.decode()
            assert moment == datetime.datetime.fromisoformat(printed).isoformat(" ")


def raw(kind: Kind, value: Any, size: int) -> bytes:
    """The bytes that the server sends for a value."""
    match kind:
        case Kind.GEOMETRY:
            return struct.pack("<I", value[1]) + bytes(value[0])
        case Kind.BITS:
            return int(value, 2).to_bytes(size, "big")
        case Kind.ARRAY:
            return struct.pack(f"<{len(value)}f", *value)
    return bytes(value)
