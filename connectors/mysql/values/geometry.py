"""Geometries: what both servers store and send is the SRID, four bytes little-endian, and then WKB."""

from __future__ import annotations


def geometry(data: bytes) -> tuple[bytes, int]:
    """``(WKB, SRID)``. Raises ValueError for what is too short to be a geometry."""
    if len(data) < 9 or data[4] > 1:
        raise ValueError("not a geometry")
    return data[4:], int.from_bytes(data[:4], "little")
