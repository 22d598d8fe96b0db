"""Row decoders for ``copy (select …) to stdout`` in text format, compiled once per table version.

The same values as a pgoutput tuple's: the text of a column is parsed by the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from connectors.postgres.inline import Writer, row
from connectors.postgres.tuples import ColumnReader
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
    line that is damaged or not of this table, and UnknownLabel for a new enum label.
    """
    writer = Writer(binary=False)
    writer.globals |= {"unescape": unescape, "again": _CopyReader(schema).row}
    names = [f"c{i}" for i in range(len(schema.columns))]
    values = [writer.value(c.type, name) for c, name in zip(schema.columns, names, strict=True)]
    nullable = [f"None if {name} is None else {value}" for name, value in zip(names, values, strict=True)]
    unpack = f"{', '.join(names)}, = " if names else "_, = "
    source = [
        "def decode(line):",
        "  try:",
        "    s = line.decode()",
        "    if s[-1:] == '\\n': s = s[:-1]",
        "    if '\\\\' not in s:",
        f"      {unpack}s.split('\\t')",
        f"      return {row(values)}",
        "    s = [None if x == '\\\\N' else unescape(x) if '\\\\' in x else x for x in s.split('\\t')]",
        f"    {unpack}s",
        f"    return {row(nullable)}",
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
