"""The page about types says what the code does."""

from __future__ import annotations

from pathlib import Path

from connectors.typetable import page

PAGE = Path(__file__).parent.parent.parent / "docs" / "types.md"


def test_the_page_about_types_is_what_the_code_would_write_now():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m connectors.typetable > docs/types.md"
