"""Did you mean …? One rule for options, types, commands, topics and tables."""

from __future__ import annotations

from collections.abc import Iterable


def suggest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'tables'?`` where one of ``known`` resembles ``word``, else nothing."""
    import difflib

    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
