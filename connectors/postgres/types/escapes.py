"""How ``copy`` writes fields in text format: nulls and escapes.

Source: https://www.postgresql.org/docs/current/sql-copy.html, "Text Format".
"""

from __future__ import annotations

import re
from typing import Final

#: What stands for null.
NULL: Final = "\\N"
_ESCAPED: Final = re.compile(r"\\(.?)", re.DOTALL)
_CHARACTERS: Final = {"\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unescape(field: str) -> str:
    """The text of a field that is not null. Raises KeyError for an escape that the server does not write."""
    return _ESCAPED.sub(lambda match: _CHARACTERS[match[1]], field)
