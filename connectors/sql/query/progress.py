"""How far a query source has come with each of its tables: the part of its state that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What of a table is told to nobody but this source.
_EMPTY: dict[str, Any] = {"state": "pending", "rows": 0, "estimate": 0}


class Progress:
    """Per table: its ``state`` (pending, reading, done: whether all that was there at first has been read),
    ``rows`` read at first, ``cursor`` and ``nulls`` as :mod:`.follow` has them (the latter for
    rows without a time), ``place`` in the file of keys; ``given``: how far ids have come; ``replace``: sinks
    are to empty it before. ``mark`` is how far the server had come when rows were read.

    ``to_json`` gives the same object until something changes, as a state's parts must.
    """

    def __init__(self, data: Mapping[str, Any] | None = None):
        data = data or {}
        self.signal: int = data.get("signal", 0)
        self.reconciled: int = data.get("reconciled", 0)
        self.mark: str = data.get("mark", "")
        self.tables: dict[str, dict[str, Any]] = {n: dict(t) for n, t in data.get("tables", {}).items()}
        self.keys: list[Any] | None = data.get("keys")
        self._json: dict[str, Any] | None = dict(data) if data else None

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self.tables[name]

    def add(self, name: str, estimate: int) -> int:
        """The table's place, given to it now if it is new."""
        if name not in self.tables:
            places = [t["place"] for t in self.tables.values()]
            self.tables[name] = {**_EMPTY, "estimate": estimate, "place": max(places, default=-1) + 1}
            self._json = None
        place: int = self.tables[name]["place"]
        return place

    def update(self, name: str, **changes: Any) -> None:
        """Change some fields of a table; None takes one away."""
        table = {**self.tables[name], **changes}
        self.tables[name] = {k: v for k, v in table.items() if v is not None}
        self._json = None

    def again(self, name: str, **changes: Any) -> None:
        """Have a table read from its beginning."""
        known = self.tables[name]
        rows = max(known["rows"], known["estimate"])
        fresh = {**_EMPTY, "estimate": rows, "place": known["place"]}
        self.tables[name] = {**fresh, **changes}
        self._json = None

    def forget(self, name: str) -> None:
        """A table is read no longer."""
        del self.tables[name]
        self._json = None

    def note(self, signal: int | None = None, reconciled: int | None = None, mark: str | None = None) -> None:
        """A request was taken; deletes were looked for; rows were read."""
        if signal is not None:
            self.signal = max(self.signal, signal)
        if reconciled is not None:
            self.reconciled = reconciled
        if mark is not None:
            self.mark = mark
        self._json = None

    @property
    def pending(self) -> bool:
        """Whether a table's first rows have not all been read."""
        return any(t["state"] != "done" for t in self.tables.values())

    def to_json(self, keys: list[Any] | None) -> dict[str, Any]:
        """Plain data for ``State.snapshot``; ``keys`` is the file's version."""
        if self._json is None or keys != self.keys:
            self.keys = keys
            self._json = {"signal": self.signal, "tables": dict(self.tables)}
            if self.reconciled:
                self._json["reconciled"] = self.reconciled
            if self.mark:
                self._json["mark"] = self.mark
            if keys is not None:
                self._json["keys"] = keys
        return self._json
