"""``python -m bench [--quick] [--only NAME]``: measure, print, and write results.json beside this file.

Contenders take turns within a run, because machines drift; of three rounds the median counts. The scenarios
stand in one module per database; results of scenarios that a run leaves out are kept from the run before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench import mysql, outbox, postgres, query, triggers
from bench.gauge import Reading
from bench.scenario import Latencies, Scenario, Stage

RESULTS = Path(__file__).parent / "results.json"
SCENARIOS = {
    s.name: s
    for s in [
        *postgres.SCENARIOS, *mysql.SCENARIOS, *outbox.SCENARIOS, *query.SCENARIOS, *triggers.SCENARIOS,
    ]
}  # fmt: skip
#: Of these less is better.
MOST = {"memory", "p50", "p99", "cost"}
OURS = "liberator"


def main() -> None:
    """Run the scenarios."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure liberator.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="this scenario; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="how often everybody takes a turn")
    options = parser.parse_args()
    machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        scale = 0.1 if options.quick else 1.0
        with Stage(Path(directory), scale, options.rounds) as stage:
            for name in options.only or SCENARIOS:
                found = measure(SCENARIOS[name], stage)
                how = {"quick": options.quick, "rounds": options.rounds, "loop_ns": pace()}
                keep(name, {**how, "machine": machine | stage.versions(), "contenders": found})


def pace() -> float:
    """How fast this machine is just now: nanoseconds for one pass of an empty loop. Rates of two runs compare
    only where it is the same."""

    def once() -> float:
        begun = time.perf_counter()
        for _ in range(1_000_000):
            pass
        return (time.perf_counter() - begun) * 1000

    return round(min(once() for _ in range(5)), 1)


def keep(name: str, found: dict[str, Any]) -> None:
    """Write a scenario's results at once: a run may be broken off."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = found
    order = [known for known in SCENARIOS if known in results]
    RESULTS.write_text(json.dumps({known: results[known] for known in order}, indent=2) + "\n")


def measure(scenario: Scenario, stage: Stage) -> dict[str, Any]:
    """One scenario: print it, return what is kept of it."""
    print(f"\n{scenario.name}: {scenario.title}", flush=True)
    rates: dict[str, list[Reading]] = defaultdict(list)
    latencies: dict[str, list[Latencies]] = defaultdict(list)
    for contender, reading in scenario.run(stage):
        if isinstance(reading, Reading):
            rates[contender].append(reading)
        else:
            latencies[contender].append(reading)
    out = show_rates(rates) if rates else show_latencies(latencies)
    judge(scenario, out)
    return out


def show_rates(found: dict[str, list[Reading]]) -> dict[str, Any]:
    """Print medians and ratios; return them. The first contender is the limit."""
    out = {contender: summary(readings) for contender, readings in found.items()}
    limit = next(iter(out.values()))["rows_per_second"]
    width = max(map(len, out))
    print(f"  {'':<{width}} {'rows/s':>10} {'of limit':>9} {'CPU s/M rows':>13} {'peak MB':>8}   rounds")
    for contender, kept in out.items():
        kept["share_of_limit"] = round(kept["rows_per_second"] / limit, 2) if limit else 0.0
        rounds = " ".join(f"{rate:,}" if rate else "stuck" for rate in kept["rounds"])
        memory = f"{kept['peak_mb']:,.0f}" if kept["peak_mb"] else "-"
        print(
            f"  {contender:<{width}} {kept['rows_per_second']:>10,} {kept['share_of_limit']:>9.2f}"
            f" {kept['cpu_seconds_per_million']:>13.1f} {memory:>8}   {rounds}"
        )
    return out


def summary(readings: list[Reading]) -> dict[str, Any]:
    """The medians of some rounds."""
    return {
        "rows": max(r.rows for r in readings),
        "rows_per_second": round(statistics.median(r.rate for r in readings)),
        "cpu_seconds_per_million": round(statistics.median(r.cpu_per_million for r in readings), 2),
        "peak_mb": round(max(r.memory for r in readings) / 1e6, 1),
        "rounds": [round(r.rate) for r in readings],
    }


def show_latencies(found: dict[str, list[Latencies]]) -> dict[str, Any]:
    """Print the median over the rounds of each percentile; return them."""
    out = {}
    width = max(map(len, found))
    print(f"  {'':<{width}} {'p50':>8} {'p99':>8}")
    for contender, rounds in found.items():
        cuts = [statistics.quantiles(latencies, n=100) for latencies in rounds]
        p50, p99 = (statistics.median(cut[place] for cut in cuts) for place in (49, 98))
        print(f"  {contender:<{width}} {p50:>8.1f} {p99:>8.1f}")
        out[contender] = {"p50_ms": round(p50, 2), "p99_ms": round(p99, 2)}
    return out


def judge(scenario: Scenario, out: dict[str, Any]) -> None:
    """Print which aims are reached."""
    if not scenario.aims:
        return
    ours = out[OURS]
    names = {
        "rate": "rows_per_second", "share": "share_of_limit", "memory": "peak_mb", "p50": "p50_ms",
        "p99": "p99_ms",
    }  # fmt: skip
    values = {what: ours[name] for what, name in names.items() if name in ours}
    others = [kept.get("rows_per_second", 0) for name, kept in out.items() if name != OURS][1:]
    if fastest := max(others, default=0):
        values["lead"] = ours["rows_per_second"] / fastest
    words = []
    for what, aim in scenario.aims.items():
        reached = values[what] <= aim if what in MOST else values[what] >= aim
        sign = "at most" if what in MOST else "at least"
        words.append(f"{what} {sign} {aim:,g}: {'reached' if reached else 'missed'}")
    print("  " + "; ".join(words), flush=True)


if __name__ == "__main__":
    main()
