"""A binlog source's memory stays small under a huge transaction."""

from __future__ import annotations

from tests.acceptance.test_bounds import MEGABYTE, ROWS, Watch
from tests.binlog import rows, run
from tests.fix_mysql import connected
from tests.pipeline import Pipeline, wait_for


def test_a_transaction_of_a_million_rows_passes_in_bounded_memory(mysql_database, tmp_path):
    run(
        mysql_database,
        "create table digits (d int primary key)",
        "insert into digits values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)",
        "create table big (id bigint primary key, word varchar(40), amount decimal(12, 2))",
    )
    name = mysql_database.rpartition("/")[2]
    source = {
        "type": "mysql-binlog",
        "url": mysql_database + "?ssl-mode=disabled",
        "tables": [f"{name}.big"],
    }
    with Pipeline(tmp_path, {"bank": source}, {}) as flow:
        flow.start()
        flow.wait_for_status("source:bank", lambda status: status["phase"] == "streaming")
        watch = Watch(flow)
        watch.start()
        number = " + ".join(f"{place}.d * {10**i}" for i, place in enumerate("abcdef"))
        with connected(mysql_database) as db:
            db.cursor().execute(
                f"insert into big select n, concat('word number ', n), n * 0.01 from (select {number} as n"
                f" from {', '.join(f'digits {place}' for place in 'abcdef')}) as numbers"
            )

        def arrived() -> bool:
            assert flow.running, flow.tail()
            with flow.log() as log:
                return log.end().offsets.get("", 0) >= ROWS

        wait_for(arrived, 300, flow.tail)
        watch.over.set()
        watch.join()
        flow.stop()
        assert rows(mysql_database, "select count(*) from big") == [(ROWS,)]
    print({name: f"{size / MEGABYTE:.0f} MB" for name, size in watch.peaks.items()})
    assert {"supervisor", "source:bank"} <= set(watch.peaks)
    # In the binlog they are 35 MB, and several hundred as rows.
    assert {name: size for name, size in watch.peaks.items() if size >= 100 * MEGABYTE} == {}
