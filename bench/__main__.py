"""``python -m bench [--quick] [--only NAME]``: measure, print, and write results.json beside this file.

Contenders take turns within a run, because machines drift; of three rounds the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.gauge import Reading
from bench.scenarios import Bench
from bench.server import BenchServer

RESULTS = Path(__file__).parent / "results.json"
#: What is aimed at on two cores: least rate, least share of the raw limit, most memory in MB.
AIMS: dict[str, dict[str, float]] = {
    "stream": {"rate": 120_000, "share": 0.5, "memory": 120},
    "single": {"share": 0.5, "memory": 120},
    "snapshot": {"rate": 200_000, "memory": 120},
    "sink": {"rate": 80_000, "memory": 120},
    "latency": {"p50": 15, "p99": 100},
}
TITLES = {
    "stream": "streaming, transactions of 100 rows",
    "single": "streaming, transactions of one row",
    "snapshot": "snapshot",
    "sink": "log to Postgres",
    "latency": "commit to commit at 500 transactions a second, milliseconds",
}


def main() -> None:
    """Run the scenarios."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure liberator.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--only", choices=TITLES, action="append", help="this scenario; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="how often everybody takes a turn")
    options = parser.parse_args()
    scenarios: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, BenchServer() as server:
        bench = Bench(server, Path(directory), 0.1 if options.quick else 1.0, options.rounds)
        machine = {
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "postgres": server.version(),
        }
        print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
        for name in options.only or TITLES:
            scenarios[name] = measure(name, bench)
    if not options.only:
        results = {"machine": machine, "quick": options.quick, "scenarios": scenarios}
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        print(f"written to {RESULTS}")


def measure(name: str, bench: Bench) -> dict[str, Any]:
    """One scenario: print it, return what is kept of it."""
    print(f"\n{TITLES[name]}", flush=True)
    if name == "latency":
        return show_latencies(bench.latency(20))
    readings: Iterator[tuple[str, Reading]] = {
        "stream": lambda: bench.stream(500_000, 100),
        "single": lambda: bench.stream(100_000, 1),
        "snapshot": lambda: bench.snapshot(1_000_000),
        "sink": lambda: bench.sink(500_000),
    }[name]()
    found: dict[str, list[Reading]] = defaultdict(list)
    for contender, reading in readings:
        found[contender].append(reading)
    return show_rates(name, found)


def show_rates(name: str, found: dict[str, list[Reading]]) -> dict[str, Any]:
    """Print medians and ratios; return them."""
    out = {contender: summary(readings) for contender, readings in found.items()}
    limit = out["raw limit"]["rows_per_second"]
    print(f"  {'':<10} {'rows/s':>10} {'of limit':>9} {'CPU s/M rows':>13} {'peak MB':>8}   rounds")
    for contender, kept in out.items():
        kept["share_of_limit"] = round(kept["rows_per_second"] / limit, 2)
        rounds = " ".join(f"{rate:,}" for rate in kept["rounds"])
        memory = f"{kept['peak_mb']:,.0f}" if kept["peak_mb"] else "-"
        print(
            f"  {contender:<10} {kept['rows_per_second']:>10,} {kept['share_of_limit']:>9.2f}"
            f" {kept['cpu_seconds_per_million']:>13.1f} {memory:>8}   {rounds}"
        )
    ours = out["liberator"]
    values = {"rate": ours["rows_per_second"], "share": ours["share_of_limit"], "memory": ours["peak_mb"]}
    judge(name, values, most=("memory",))
    return out


def summary(readings: list[Reading]) -> dict[str, Any]:
    """The medians of some rounds."""
    return {
        "rows": readings[0].rows,
        "rows_per_second": round(statistics.median(r.rate for r in readings)),
        "cpu_seconds_per_million": round(statistics.median(r.cpu_per_million for r in readings), 2),
        "peak_mb": round(max(r.memory for r in readings) / 1e6, 1),
        "rounds": [round(r.rate) for r in readings],
    }


def show_latencies(found: Iterator[tuple[str, list[float]]]) -> dict[str, Any]:
    """Print the median over the rounds of each percentile; return them."""
    rounds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for contender, latencies in found:
        cuts = statistics.quantiles(latencies, n=100)
        rounds[contender].append((cuts[49], cuts[98]))
    out = {}
    print(f"  {'':<10} {'p50':>8} {'p99':>8}")
    for contender, cuts in rounds.items():
        p50, p99 = (statistics.median(values) for values in zip(*cuts, strict=True))
        print(f"  {contender:<10} {p50:>8.1f} {p99:>8.1f}")
        out[contender] = {"p50_ms": round(p50, 2), "p99_ms": round(p99, 2)}
    ours = out["liberator"]
    judge("latency", {"p50": ours["p50_ms"], "p99": ours["p99_ms"]}, most=("p50", "p99"))
    return out


def judge(name: str, values: dict[str, float], most: tuple[str, ...]) -> None:
    """Print which aims are reached."""
    words = []
    for what, aim in AIMS[name].items():
        reached = values[what] <= aim if what in most else values[what] >= aim
        sign = "at most" if what in most else "at least"
        words.append(f"{what} {sign} {aim:,g}: {'reached' if reached else 'missed'}")
    print("  " + "; ".join(words), flush=True)


if __name__ == "__main__":
    main()
