"""The connector in CONTRIBUTING.md is complete: taken from the page, it keeps the contract of all sinks."""

from __future__ import annotations

from liberator.sink import Sink
from tests.documents import ROOT, blocks_of

PAGE = "CONTRIBUTING.md"
#: The page promises this many lines; blank ones and comments do not count.
LINES = 60

namespace: dict = {"__name__": __name__}
code, test = blocks_of(PAGE, "python")
for block in (code, test):
    # Line numbers in a traceback are those of the page.
    exec(compile("\n" * block.line + block.text, str(ROOT / PAGE), "exec", dont_inherit=True), namespace)

TestArchive = namespace["TestArchive"]


def test_it_is_as_short_as_the_page_says():
    lines = [line for line in code.text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= LINES


def test_a_commit_that_was_cut_short_never_happened(tmp_path):
    archive = namespace["Archive"]
    sink: Sink = archive("a", archive.Config(type="archive", directory=tmp_path))
    sink.open()
    sink.close()
    file = tmp_path / "a.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'["topic", "CREATE", {}]\n{"cursor": {"log": "l", "offs')
    assert sink.open() is None
    sink.close()
    assert file.read_bytes().startswith(whole)
    assert b"topic" not in file.read_bytes()
