"""The examples are real: the shop sells, the script closes the day, and their events are published."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.fix_mysql import connected

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"


def published(directory, topic):
    """Run what is beside the example until all is published; the records."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", "liberator"]
    subprocess.run(
        [*run, "run", "--config", "shop.yaml", "--until-current"],
        cwd=directory, env=environment, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    out = subprocess.run(
        [*run, "tail", "--config", "shop.yaml", topic],
        cwd=directory, env=environment, check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    return [json.loads(line) for line in out.splitlines()]


def test_the_shop_publishes_an_order_if_and_only_if_it_is_stored(tmp_path, monkeypatch):
    shutil.copytree(EXAMPLES / "flask-shop", tmp_path / "shop")
    monkeypatch.setenv("SHOP_DATABASE", f"sqlite:///{tmp_path / 'shop' / 'shop.db'}")
    spec = importlib.util.spec_from_file_location("flask_shop_app", tmp_path / "shop" / "app.py")
    shop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shop)
    shop.create_tables()
    client = shop.app.test_client()
    answers = [
        client.post("/orders", json={"customer": "Ada", "total": total}) for total in ("12.30", "-1", "7")
    ]
    shop.engine.dispose()
    assert [answer.status_code for answer in answers] == [201, 422, 201]
    records = published(tmp_path / "shop", "shop.order")
    assert [record["value"]["total"] for record in records] == ["12.30", "7"]
    assert [record["headers"]["type"] for record in records] == ["OrderPlaced"] * 2
    assert [record["key"] for record in records] == [str(answers[0].json["id"]), str(answers[2].json["id"])]


def test_the_script_publishes_with_a_copy_of_the_one_file(tmp_path, mysql_database, monkeypatch):
    from liberator.outbox import Outbox

    directory = tmp_path / "script"
    shutil.copytree(EXAMPLES / "legacy-script", directory)
    shutil.copy(ROOT / "liberator" / "outbox.py", directory)
    with connected(mysql_database) as db:
        cursor = db.cursor()
        for statement in Outbox().ddl("mysql", drain="delete").split(";\n"):
            if statement:
                cursor.execute(statement)
        cursor.execute("create table orders (id int primary key, total decimal(12, 2), state varchar(20))")
        cursor.execute("insert into orders values (1, 12.30, 'placed'), (2, 5, 'closed'), (3, 7, 'placed')")
    # Nothing but the driver can be imported beside the copy.
    alone = {"PATH": os.environ["PATH"], "PYTHONSAFEPATH": ""}
    code = (
        "import sys; sys.modules['liberator'] = None; sys.path.insert(0, '.');"
        " import close_day; close_day.main(sys.argv[1])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, mysql_database],
        cwd=directory, env=alone, check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    assert out == "2 orders closed\n"
    monkeypatch.setenv("SHOP_DATABASE", mysql_database)
    records = published(directory, "shop.order")
    assert [(record["key"], record["value"]) for record in records] == [
        ("1", {"total": "12.30"}),
        ("3", {"total": "7.00"}),
    ]
    with connected(mysql_database) as db:
        cursor = db.cursor()
        cursor.execute("select count(*) from outbox")
        assert cursor.fetchone() == (0,)
