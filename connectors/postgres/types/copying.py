"""Decoders for ``copy (select …) to stdout`` in text format, compiled once per table version: of a line, and
of a block of lines, column by column, which takes two thirds of the time.

The same values as a pgoutput tuple's: the text of a column is parsed by the same functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from connectors.postgres.types.columns import ColumnWriter
from connectors.postgres.types.escapes import unescape
from connectors.postgres.types.inline import TROUBLE, row
from connectors.postgres.wal.tuples import ColumnReader
from liberator.event import Row
from liberator.schema import TableSchema

#: Bytes of lines that are decoded at once: their texts and fields take several times as much.
_AT_ONCE: Final = 1 << 20


def compile_copy_decoder(schema: TableSchema) -> Callable[[bytes], Row]:
    """A function from one line to its row; the line's newline may be there or not.

    The columns must have been selected in the schema's order. The function raises DecodeError for a
    line that is damaged or not of this table, and UnknownLabel for a new enum label. To ask for it anew
    costs nothing as long as it is the same, and it becomes better as the table's rows become known: ask
    once per chunk.
    """
    return _compiler(schema).line()


def compile_block_decoder(schema: TableSchema) -> Callable[[bytes], list[Row]]:
    """A function from lines, each with its newline and one behind the other, to their rows. Otherwise as
    :func:`compile_copy_decoder`."""
    compiler = _compiler(schema)
    block = compiler.block()

    def decode(lines: bytes) -> list[Row]:
        if len(lines) <= _AT_ONCE:
            return piece(lines)
        rows: list[Row] = []
        start = 0
        while start < len(lines):
            end = lines.rfind(b"\n", start, start + _AT_ONCE) + 1
            if not end:  # one long line
                end = lines.find(b"\n", start) + 1 or len(lines)
            rows += piece(lines[start:end])
            start = end
        return rows

    def piece(lines: bytes) -> list[Row]:
        try:
            return block(lines)
        except TROUBLE:
            return list(map(compiler.line(), lines.removesuffix(b"\n").split(b"\n") if lines else ()))

    return decode


@lru_cache(maxsize=64)
def _compiler(schema: TableSchema) -> _Compiler:
    return _Compiler(schema)


class _Compiler:
    """Compiles a table's decoders, again when columns have turned out to have many values."""

    def __init__(self, schema: TableSchema):
        self._schema = schema
        self._plain: set[int] = set()
        self._line: Callable[[bytes], Row] | None = None
        self._block: Callable[[bytes], list[Row]] | None = None
        self._writer = self._write()

    def _write(self) -> ColumnWriter:
        return ColumnWriter(self._schema, self._plain, self._forget)

    def line(self) -> Callable[[bytes], Row]:
        """The decoder of a line, for now."""
        if self._line is None:
            self._line = _compile(self._schema, self._writer)
        return self._line

    def block(self) -> Callable[[bytes], list[Row]]:
        """The decoder of a block, for now; it raises one of TROUBLE where lines must be looked at one by
        one."""
        if self._block is None:
            self._block = _compile_block(self._schema, self._writer)
        return self._block

    def _forget(self) -> None:
        self._plain |= self._writer.many()
        self._writer = self._write()
        self._line = self._block = None


def _compile(schema: TableSchema, writer: ColumnWriter) -> Callable[[bytes], Row]:
    names = [f"c{i}" for i in range(len(schema.columns))]
    unpack = f"{', '.join(names)}, = " if names else "_, = "
    plain, nullable = [], []
    for i, name in enumerate(names):
        lines = writer.parse(i, name, f"v{i}")
        plain += [f"      {line}" for line in lines]
        nullable += [f"    if {name} is None: v{i} = None", "    else:", *(f"      {line}" for line in lines)]
    result = f"return {row(f'v{i}' for i in range(len(names)))}"
    writer.globals["again"] = _CopyReader(schema).row
    source = [
        "def decode(line):",
        "  GLOBAL",
        "  try:",
        "    s = line.decode().removesuffix('\\n')",
        "    if '\\\\' not in s:",
        f"      {unpack}s.split('\\t')",
        *plain,
        f"      {result}",
        f"    {unpack}[None if x == NULL else unescape(x) if '\\\\' in x else x for x in s.split('\\t')]",
        *nullable,
        f"    {result}",
        "  except TROUBLE: pass",
        "  return again(line)",
    ]
    decode: Callable[[bytes], Row] = writer.run(source, f"copy of {schema.schema}.{schema.table}")["decode"]
    return decode


def _compile_block(schema: TableSchema, writer: ColumnWriter) -> Callable[[bytes], list[Row]]:
    width = len(schema.columns)
    if not width:
        return lambda lines: [()] * lines.count(b"\n")
    source = [
        "def decode_block(lines):",
        "  s = lines.decode()",
        # What stands between lines becomes a field of its own, so that each line must have as many as it has.
        "  fields = s.replace('\\n', '\\t\\n\\t').split('\\t')",
        f"  if fields.pop() or fields[{width}::{width + 1}].count('\\n') * {width + 1} != len(fields):",
        "    raise ValueError",
        "  escaped = '\\\\' in s",
    ]
    for i in range(width):
        source.append(f"  c{i} = fields[{i}::{width + 1}]")
        source += [f"  {line}" for line in writer.column(i, f"c{i}", f"v{i}")]
    source.append(f"  return list(zip({', '.join(f'v{i}' for i in range(width))}, strict=True))")
    what = f"block of {schema.schema}.{schema.table}"
    decode: Callable[[bytes], list[Row]] = writer.run(source, what)["decode_block"]
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
