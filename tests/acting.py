"""A source, a sink and a package that offers them, which do what a test tells them: for the command line.

``act(name, **parts)`` says what source or sink ``name`` answers; what is not said is empty. A part that is
an exception is raised.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from liberator import cli, plugins
from liberator.codec import Producer
from liberator.config import load
from liberator.event import Position
from liberator.log import Log, Records
from liberator.options import PatternList, SinkOptions, SourceOptions, Url
from liberator.plugins import codec_class
from liberator.sink import Sink
from liberator.source import Batch, Source, SourceStatus, State

PARTS: dict[str, dict[str, Any]] = {}

ENTRY_POINTS = """\
[liberator.sources]
acting = tests.acting:ActingSource
absent = driverless:Source
[liberator.sinks]
acting = tests.acting:ActingSink
[liberator.schemes]
acting = tests.acting:ActingSource
"""


def act(name: str, **parts: Any) -> None:
    """What source or sink ``name`` answers from now on."""
    PARTS.setdefault(name, {}).update(parts)


def answer(name: str, part: str, standard: Any) -> Any:
    """What was said for this part; raised if it is an exception."""
    found = PARTS.get(name, {}).get(part, standard)
    if isinstance(found, BaseException):
        raise found
    return found


def install(directory: Path) -> None:
    """Write the metadata of a package with these connectors, and a module whose driver is missing."""
    info = directory / "acting-1.0.dist-info"
    info.mkdir()
    requires = 'Requires-Dist: nodriver; extra == "absent"\n'
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acting\nVersion: 1.0\n{requires}")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (directory / "driverless.py").write_text("import nodriver\n")


class ActingSourceOptions(SourceOptions):
    """Options as a source has them."""

    url: Url = Field(description="The database.")
    tables: PatternList = Field(["*"], description="Tables to capture.")


class ActingSource(Source):
    """Acts as a source. Does nothing by itself."""

    Config = ActingSourceOptions
    connector = "acting"

    def open(self, state):
        raise NotImplementedError

    def read(self):
        return Batch([], State(Position(1, 0)))

    def current(self):
        return Position(1, 0)

    def reached(self, state, target):
        return True

    def check(self):
        return answer(self.name, "check", [])

    def objects(self):
        return answer(self.name, "objects", [])

    def setup(self):
        return answer(self.name, "setup", [])

    def teardown(self):
        return answer(self.name, "teardown", [])

    def status(self, state):
        return answer(self.name, "status", SourceStatus())

    def recover(self, state):
        return State(Position(state.position.epoch + 1, 0))

    @classmethod
    def init(cls, url):
        return answer("init", "text", "log: {}\n")


class ActingSinkOptions(SinkOptions):
    """Options as a sink has them."""

    url: Url = Field(description="The database.")


class ActingSink(Sink):
    """Acts as a sink. Does nothing by itself."""

    Config = ActingSinkOptions

    def open(self):
        raise NotImplementedError

    def write(self, events):
        raise NotImplementedError

    def commit(self, cursor):
        raise NotImplementedError

    def cursor(self):
        return answer(self.name, "cursor", None)

    def check(self):
        return answer(self.name, "check", [])

    def objects(self):
        return answer(self.name, "objects", [])

    def setup(self):
        return answer(self.name, "setup", [])

    def teardown(self):
        return answer(self.name, "teardown", [])


CONFIG = """\
log: {type: embedded, path: ./shop.log}
sources:
  shop: {type: acting, url: "acting://app:hunter2@db/shop", tables: [public.*]}
sinks:
  replica: {type: acting, url: "acting://app:hunter2@db/replica", topics: [shop.*]}
"""


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Desk:
    """Runs commands in this process on a configuration of acting connectors."""

    def __init__(self, directory: Path, capsys: Any):
        self.directory = directory
        self.config = directory / "shop.yaml"
        self.config.write_text(CONFIG)
        self._capsys = capsys

    def __call__(self, *arguments: str, config: bool = True) -> Answer:
        self._capsys.readouterr()
        given = [*arguments, "--config", str(self.config)] if config else list(arguments)
        code = cli.invoke(given)
        out, err = self._capsys.readouterr()
        assert "hunter2" not in out + err
        return Answer(code, out, err)

    def log(self) -> Log:
        """The log of the configuration, made if it is missing."""
        return load(self.config).open_log()

    def capture(self, *transactions: list[Any], codec: str = "avro", envelope: str = "change") -> None:
        """Put events into the log as source ``shop`` would."""
        with self.log() as log:
            encode = codec_class(codec)(log.registry, envelope).encoder(Producer("shop", "acting", "1"))
            for events in transactions:
                records = Records()
                encode(events, records)
                log.append("shop", records, State(Position(1, events[-1].transaction.position.major)))


@pytest.fixture
def desk(tmp_path, monkeypatch, capsys):
    """Commands on acting connectors; see :class:`Desk`."""
    install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("liberator.cli.output.terminal", lambda stream=None: False)
    monkeypatch.delenv("LIBERATOR_DEBUG", raising=False)
    plugins.installed.cache_clear()
    PARTS.clear()
    yield Desk(tmp_path, capsys)
    plugins.installed.cache_clear()
