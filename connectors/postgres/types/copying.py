"""Row decoders for ``copy (select …) to stdout`` in text format, compiled once per table version.

The same values as a pgoutput tuple's: the text of a column is parsed by the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from connectors.postgres.types.inline import Writer, row
from connectors.postgres.wal.tuples import ColumnReader
from liberator.event import Row
from liberator.schema import TableSchema

_ESCAPED: Final = re.compile(r"\\(.?)", re.DOTALL)
_CHARACTERS: Final = {"\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unescape(field: str) -> str:
    """The text of one field. Raises KeyError for an escape that the server does not write."""
    return _ESCAPED.sub(lambda match: _CHARACTERS[match[1]], field)


def compile_copy_decoder(schema: TableSchema) -> Callable[[bytes], Row]:
    """A function from one line to its row; the line's newline may be there or not.

    The columns must have been selected in the schema's order. The function raises DecodeError for a
    line that is damaged or not of this table, and UnknownLabel for a new enum label. To ask for it anew
    costs nothing as long as it is the same, and it becomes better as the table's rows become known: ask
    once per chunk.
    """
    return _compiler(schema).decode()


@lru_cache(maxsize=64)
def _compiler(schema: TableSchema) -> _Compiler:
    return _Compiler(schema)


class _Compiler:
    """Compiles a table's decoder, again when columns have turned out to have many values."""

    def __init__(self, schema: TableSchema):
        self._schema = schema
        self._plain: set[int] = set()
        self._writer: Writer | None = None
        self._decode: Callable[[bytes], Row] | None = None

    def decode(self) -> Callable[[bytes], Row]:
        """The decoder for now."""
        if self._decode is None:
            self._writer = Writer(self._schema, False, self._plain, self._forget)
            self._decode = _compile(self._schema, self._writer)
        return self._decode

    def _forget(self) -> None:
        assert self._writer is not None
        self._plain |= self._writer.many()
        self._decode = None


def _compile(schema: TableSchema, writer: Writer) -> Callable[[bytes], Row]:
    names = [f"c{i}" for i in range(len(schema.columns))]
    unpack = f"{', '.join(names)}, = " if names else "_, = "
    plain, nullable = [], []
    for i, name in enumerate(names):
        lines = writer.parse(i, name, f"v{i}")
        plain += [f"      {line}" for line in lines]
        nullable += [f"    if {name} is None: v{i} = None", "    else:", *(f"      {line}" for line in lines)]
    result = f"return {row(f'v{i}' for i in range(len(names)))}"
    writer.globals |= {"unescape": unescape, "again": _CopyReader(schema).row}
    source = [
        "def decode(line):",
        "  GLOBAL",
        "  try:",
        "    s = line.decode().removesuffix('\\n')",
        "    if '\\\\' not in s:",
        f"      {unpack}s.split('\\t')",
        *plain,
        f"      {result}",
        f"    {unpack}[None if x == '\\\\N' else unescape(x) if '\\\\' in x else x for x in s.split('\\t')]",
        *nullable,
        f"    {result}",
        "  except TROUBLE: pass",
        "  return again(line)",
    ]
    decode: Callable[[bytes], Row] = writer.run(source, f"copy of {schema.schema}.{schema.table}")["decode"]
    return decode


class _CopyReader(ColumnReader):
    """One line, read plainly: the reference, and the error that names the column."""

    def row(self, line: bytes) -> Row:
        fields = line.removesuffix(b"\n").split(b"\t")
        if not self.parsers and fields == [b""]:
            return ()
        if len(fields) != len(self.parsers):
            self.refuse(f"the line has {len(fields)} fields, the table {len(self.parsers)} columns")
        return tuple(
            None if field == b"\\N" else self.value(i, self._text(field, i)) for i, field in enumerate(fields)
        )

    def _text(self, field: bytes, index: int) -> bytes:
        if b"\\" not in field:
            return field
        try:
            return unescape(field.decode("latin-1")).encode("latin-1")
        except KeyError:
            self.refuse(f"a field that is not escaped as copy does it ({self.schema.columns[index].name!r})")
