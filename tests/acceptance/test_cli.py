"""The command line as people use it: real processes, a real Postgres, a terminal, pipes and Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
import traceback

import psycopg
import pytest

from liberator import cli
from liberator.errors import LiberatorError
from liberator.log.embedded import EmbeddedLog

LIBERATOR = [sys.executable, "-W", "error", "-m", "liberator"]
PATIENCE = 60

CONFIG = """\
log: {type: embedded, path: ./var/shop.log}
sources:
  shop:
    type: postgres-wal
    url: ${SHOP_URL}
    tables: [public.*]
sinks:
  replica:
    type: sqlite
    url: sqlite:///replica.db
    topics: [shop.*]
"""


class Shop:
    """A database with orders, a configuration, and commands on it."""

    def __init__(self, directory, url):
        self.directory = directory
        self.url = url
        self.config = directory / "shop.yaml"
        self.config.write_text(CONFIG)
        self.environment = {**os.environ, "SHOP_URL": url, "LIBERATOR_CONFIG": str(self.config)}
        self._running = []
        self.sql(
            "create table orders (id int primary key, note text)",
            "insert into orders select i, 'note ' || i from generate_series(1, 1000) i",
        )

    def sql(self, *statements):
        with psycopg.connect(self.url, autocommit=True) as conn:
            for statement in statements:
                cursor = conn.execute(statement)
        return cursor.fetchall() if cursor.description else None

    def replica(self):
        with contextlib.closing(sqlite3.connect(self.directory / "replica.db")) as conn:
            return conn.execute("select id, note from orders order by id").fetchall()

    def __call__(self, *arguments, code=0):
        """Run a command to its end; (stdout, stderr)."""
        done = subprocess.run(
            [*LIBERATOR, *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd="/",
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    def start(self, *arguments, **how):
        """Start a command in a process group of its own, as a shell does."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how
        process = subprocess.Popen(
            [*LIBERATOR, *arguments], env=self.environment, start_new_session=True, **pipes
        )
        self._running.append(process)
        return process

    def until(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(sqlite3.Error):
                if condition():
                    return
            time.sleep(0.05)
        raise AssertionError(f"not within {PATIENCE} s: {what}")

    def end(self):
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def shop(database, tmp_path):
    shop = Shop(tmp_path, database)
    yield shop
    shop.end()


def interrupt(process):
    """Ctrl-C: the whole process group gets the signal."""
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def first_line(process):
    """The first line that a process prints, decoded."""
    assert select.select([process.stdout], [], [], PATIENCE)[0], f"nothing within {PATIENCE} s"
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def test_from_a_database_to_tables_and_back_to_a_clean_server(shop):
    made, _ = shop("init", shop.url)
    assert shop.url.partition("?")[0].rpartition("/")[2] in made
    out, _ = shop("check")
    assert out.splitlines()[-1].startswith("no errors")
    out, _ = shop("setup", "--dry-run")
    assert "pg_create_logical_replication_slot" in out

    out, err = shop("run", "--until-current")
    assert out == ""
    assert re.search(r"source shop: snapshot finished: 1,000 rows; streaming from [0-9A-F]+/[0-9A-F]+\n", err)
    assert "sink replica: caught up, 1,000 events\n" in err
    assert shop.replica() == shop.sql("select id, note from orders order by id")

    shop.sql("update orders set note = 'new' where id = 1", "delete from orders where id = 2")
    out, err = shop("run", "--until-current", "--quiet")
    assert (out, err) == ("", "")
    assert shop.replica() == shop.sql("select id, note from orders order by id")

    out, _ = shop("tail", "shop.public.orders", "--from", "1000")
    assert [(r["key"], r["value"] and r["value"]["op"]) for r in records(out)] == [
        ({"id": 1}, "u"),
        ({"id": 2}, "d"),
        ({"id": 2}, None),
    ]
    out, _ = shop("topics", "--json")
    assert [(t["topic"], t["records"]) for t in json.loads(out)] == [("shop.public.orders", 1003)]
    out, _ = shop("schemas", "shop.public.orders-value", "--json")
    assert [version["version"] for version in json.loads(out)] == [1]

    out, err = shop("status", "--json")
    (source,), (sink,) = json.loads(out)["sources"], json.loads(out)["sinks"]
    assert (source["phase"], source["running"], source["error"]) == ("stopped", False, None)
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", source["position"])
    assert source["snapshot"]["public.orders"]["state"] == "done"
    assert source["retained_bytes"] is not None
    assert source["lag_seconds"] >= 0
    assert (sink["cursor"], sink["lag_events"], sink["lag_seconds"]) == ({"": 1003}, 0, 0)

    shop("teardown", "--dry-run")
    shop("teardown")
    database = shop.sql("select current_database()")[0][0]
    assert shop.sql(f"select 1 from pg_replication_slots where database = '{database}'") == []
    assert shop.sql("select 1 from pg_publication") == []
    assert len(shop.replica()) == 999


def test_reading_goes_on_beside_a_run_tables_are_read_again_and_every_end_is_quiet(shop):
    run = shop.start("run")
    shop.until(lambda: len(shop.replica()) == 1000, "the snapshot is in the sink")
    follower = shop.start("tail", "shop.public.orders", "--from", "1000", "--follow")
    cut_off = shop.start("tail", "shop.*", "--follow")
    assert first_line(cut_off)["offset"] == 0
    cut_off.stdout.close()  # as `| head -1` does

    shop.sql("insert into orders values (2000, 'followed')")
    record = first_line(follower)
    assert (record["offset"], record["value"]["after"]["note"]) == (1000, "followed")
    out, _ = shop("status", "--json")
    assert [view["phase"] for view in json.loads(out)["sources"] + json.loads(out)["sinks"]] == [
        "streaming",
        "applying",
    ]

    assert cut_off.wait(PATIENCE) == 0
    assert cut_off.stderr.read() == ""
    code, out, err = interrupt(follower)
    assert (code, out, err.strip()) == (130, "", "")

    # Tables are read again while it goes on.
    with contextlib.closing(sqlite3.connect(shop.directory / "replica.db")) as conn, conn:
        conn.execute("update orders set note = 'spoilt'")
    out, err = shop("snapshot", "shop", "public.orders")
    assert out.splitlines()[1].startswith("it begins in a moment")
    assert err == ""
    truth = shop.sql("select id, note from orders order by id")
    shop.until(lambda: shop.replica() == truth, "the rows were read again")
    code, out, err = interrupt(run)
    assert (code, out) == (0, "")
    assert "Traceback" not in err
    assert re.search("source shop: stopped, [0-9,]+ events", err)


def test_a_gap_stops_a_source_until_somebody_accepts_it(shop):
    shop("run", "--until-current", "--quiet")
    shop.sql("select pg_drop_replication_slot('liberator_shop')")
    shop.sql("delete from orders where id <= 10", "insert into orders values (5000, 'unseen')")
    _, err = shop("run", "--until-current", code=1)
    assert "stopped for good" in err
    assert "`liberator snapshot --config FILE --recover shop`" in err
    assert "sink replica: caught up" in err
    out, _ = shop("status")
    assert out.splitlines()[1].split()[:2] == ["shop", "failed"]

    shop("snapshot", "--recover", "shop")
    shop("run", "--until-current", "--quiet")
    assert shop.replica() == shop.sql("select id, note from orders order by id")


def test_everything_wrong_is_told_at_once_before_the_first_start(shop):
    text = CONFIG.replace("public.*", "public.ordrs").replace(
        "sqlite:///replica.db", "sqlite:////no/where.db"
    )
    shop.config.write_text(text)
    _, err = shop("run", code=2)
    assert "error: sources.shop.tables: no table matches public.ordrs\nhint: " in err
    assert "error: sinks.replica: there is no directory /no\nhint: mkdir -p /no\n" in err
    assert not (shop.directory / "var").exists()


@pytest.mark.parametrize(
    "command", [["check"], ["check", "--json"], ["run"], ["status"], ["setup"], ["init"]]
)
def test_a_database_that_cannot_be_reached_is_told_without_its_password(shop, command, capfd, monkeypatch):
    if command == ["status"]:
        EmbeddedLog(shop.directory / "var" / "shop.log").close()
    shop.environment["SHOP_URL"] = "postgresql://app:hunter2@127.0.0.1:1/shop?application_name=x"
    code = {"check": 2, "run": 2, "status": 0}.get(command[0], 1)
    arguments = [*command, shop.environment["SHOP_URL"]] if command == ["init"] else command
    with monkeypatch.context() as patch:
        for name in ("SHOP_URL", "LIBERATOR_CONFIG"):
            patch.setenv(name, shop.environment[name])
        assert cli.invoke(arguments) == code
        shown = "".join(capfd.readouterr())
        assert "hunter2" not in shown
        assert "cannot connect" in shown
        patch.setenv("LIBERATOR_DEBUG", "1")
        try:
            cli.invoke(arguments)
        except LiberatorError as exc:
            print("".join(traceback.format_exception(exc)))
        assert "hunter2" not in "".join(capfd.readouterr())


def test_a_sink_on_standard_output_has_it_for_itself(shop):
    shop.config.write_text(CONFIG[: CONFIG.index("sinks:")] + "sinks: {screen: {type: stdout}}\n")
    out, err = shop("run", "--until-current")
    assert [event["after"]["id"] for event in records(out)] == list(range(1, 1001))
    assert "sink screen: caught up, 1,000 events" in err


def test_sources_alone_are_captured_until_current(shop):
    shop.config.write_text(CONFIG[: CONFIG.index("sinks:")])
    shop("run", "--until-current")
    out, _ = shop("topics", "--json")
    assert json.loads(out)[0]["records"] == 1000


def test_a_log_that_no_other_process_can_see_is_refused(shop):
    shop.config.write_text(CONFIG.replace("{type: embedded, path: ./var/shop.log}", "{type: memory}"))
    _, err = shop("run", "--until-current", code=1)
    assert "stopped for good: a log in memory exists only in the process that runs" in err


def test_a_run_on_a_terminal_shows_a_table_and_ctrl_c_ends_it(shop):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    shop.environment["TERM"] = "xterm"
    run = shop.start(
        "run", stdin=theirs, stdout=theirs, stderr=theirs, text=False, preexec_fn=lambda: _own(theirs)
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + PATIENCE
    interrupted = False
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        if not interrupted and b"applying" in shown and b"streaming" in shown and b"up to date" in shown:
            os.write(ours, b"\x03")
            interrupted = True
    os.close(ours)
    assert interrupted, shown.decode()
    assert run.wait(PATIENCE) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"source shop: snapshot finished: 1,000 rows", text)
    assert re.search(r"source shop +stopped", text.splitlines()[-2])
    assert "Traceback" not in text


def _own(terminal):
    """Make the terminal the controlling one, so that ^C becomes a signal."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def test_help_is_quick():
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([*LIBERATOR, "--help"], capture_output=True, check=True)
        after = os.times()
        times.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    assert min(times) < 0.25
