"""The lines of a chunk on their way to rows: decoded here, or beside, by :mod:`liberator.decoding`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from connectors.postgres.types.copying import compile_block_decoder
from liberator.decoding import Decode, Decoder
from liberator.event import Row
from liberator.schema import TableSchema


class Lines(list[bytes]):
    """Lines of ``copy``, each with its newline, in the order in which they are decoded.

    ``decoder`` is given them in steps of ``step`` lines, if it is ready by the time they are there.
    """

    def __init__(self, schema: TableSchema, step: int, decoder: Decoder | None):
        super().__init__()
        self._schema = schema
        self._step = step
        self._decoder = decoder
        self._offered = self._decoded = 0  # lines
        self._given: deque[tuple[int, int, int]] = deque()  # first line, line behind the last, number

    def offer(self, ended: bool = False) -> None:
        """Hand over what has come, in whole steps; ``ended``: no more lines will come. Nothing is handed over
        any more once lines were decoded."""
        decoder = self._decoder
        if decoder is None or self._decoded or not decoder.ready:
            return
        while self._offered + self._step <= len(self) or (ended and self._offered < len(self)):
            first = self._offered
            lines = self[first : first + self._step]
            self._offered += len(lines)
            number = decoder.give((block_decoder, (self._schema,)), b"".join(lines))
            self._given.append((first, self._offered, number))

    def decode(self, lines: Sequence[bytes]) -> list[Row]:
        """The rows of the next lines of these. Raises what the decoders of copies raise."""
        first = self._decoded
        self._decoded += len(lines)
        while self._given and self._given[0][0] < first:
            self._given.popleft()
        if self._given and self._given[0][:2] == (first, self._decoded):
            assert self._decoder is not None
            rows = self._decoder.take(self._given.popleft()[2])
            if rows is not None:
                return rows
        return compile_block_decoder(self._schema)(b"".join(lines))


def block_decoder(schema: TableSchema) -> Decode:
    """A function from lines, one behind the other, to their rows."""

    def decode(block: bytes) -> list[Row]:
        # Asked for anew, it is a better one once the table's rows are known.
        return compile_block_decoder(schema)(block)

    return decode
