"""The words of a statement, one after the other, as far as somebody asks.

Comments are no words; what is in a versioned comment (``/*!50000 … */``, ``/*M! … */``) is. Names come
unquoted.

https://dev.mysql.com/doc/refman/8.4/en/language-structure.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final


class Token:
    """A word (``word`` in upper case), a name (``name``: also every word is one), a mark, or the end.

    ``word`` is "" for all but unquoted words, ``name`` None for what can be no name.
    """

    __slots__ = ("end", "mark", "name", "quoted", "word")

    def __init__(self, word: str = "", name: str | None = None, mark: str = "", *, end: bool = False):
        self.word = word
        self.name = name
        self.mark = mark
        self.quoted = name is not None and not word
        self.end = end


_END: Final = Token(end=True)


class Tokens:
    """A walk over ``text``. ``ansi_quotes`` and ``no_backslash_escapes`` are the session's sql_mode."""

    __slots__ = ("_ansi", "_at", "_next", "_pattern", "_text")

    def __init__(self, text: str, *, ansi_quotes: bool = False, no_backslash_escapes: bool = False):
        self._text = text
        self._ansi = ansi_quotes
        self._pattern = _pattern(ansi_quotes, no_backslash_escapes)
        self._at = 0
        self._next: Token | None = None

    def peek(self) -> Token:
        """The next one, which stays the next."""
        if self._next is None:
            self._next = self._read()
        return self._next

    def take(self) -> Token:
        """The next one; the end again and again."""
        token, self._next = self.peek(), None
        return token

    def skip(self, *words: str) -> bool:
        """Go past the next word if it is one of these; whether it was."""
        found = self.peek().word in words and not self.peek().end
        if found:
            self._next = None
        return found

    def skip_all(self, *words: str) -> bool:
        """Go past these words if the first is there; whether all were."""
        if not self.skip(words[0]):
            return False
        found = [self.skip(word) for word in words[1:]]  # each of them, also behind one that is missing
        return all(found)

    def skip_mark(self, mark: str) -> bool:
        """Go past this mark if it is next; whether it was."""
        found = self.peek().mark == mark
        if found:
            self._next = None
        return found

    def close(self) -> None:
        """Go past the parenthesis that closes the one just taken, or to the end."""
        depth = 1
        while depth and not (token := self.take()).end:
            depth += (token.mark == "(") - (token.mark == ")")

    def outer(self, first: Token | None = None) -> Iterator[Token]:
        """What is left, from ``first`` on, without what is in parentheses; an opening one is told."""
        if first is not None and not first.end and first.mark != "(":
            yield first
        while not (token := self.take()).end:
            yield token
            if token.mark == "(":
                self.close()

    def _read(self) -> Token:
        while found := self._pattern.match(self._text, self._at):
            self._at = found.end()
            kind, text = found.lastgroup, found[0]
            if kind == "word":
                return Token(text.upper(), text)
            if kind == "mark":
                return Token(mark=text)
            if kind == "name":
                return Token(name=text[1:-1].replace(text[0] * 2, text[0]))
            if kind == "string":
                return Token(mark="'")
        return _END


@cache
def _pattern(ansi_quotes: bool, no_backslash_escapes: bool) -> re.Pattern[str]:
    escaped = "" if no_backslash_escapes else r"\\."
    inside = "" if no_backslash_escapes else r"\\"

    def quoted(quote: str) -> str:
        # Possessive: it is a string to its end, or it is none.
        return rf"{quote}(?:[^{quote}{inside}]|{quote}{quote}{'|' + escaped if escaped else ''})*+{quote}"

    double = r'"(?:[^"]|"")++"' if ansi_quotes else ""
    return re.compile(
        rf"""
        (?P<space> [\s\0]++ )
        | (?P<versioned> /\*M?!\d{{0,6}} | \*/ )
        | (?P<comment> /\*(?:[^*]|\*(?!/))*+(?:\*/)? | \#[^\n]*+ | --(?=[\s\0]|\Z)[^\n]*+ )
        | (?P<name> `(?:[^`]|``)++` {"|" + double if double else ""} )
        | (?P<string> {quoted("'")} {"" if double else "|" + quoted('"')} )
        | (?P<word> [0-9A-Za-z_$\x80-\U0010ffff]++ )
        | (?P<mark> . )
        """,
        re.VERBOSE | re.DOTALL,
    )
