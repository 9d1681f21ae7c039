"""The command: `python -m bench [--quick] [--rounds N] [--only KEY,…]`; writes `bench/results/latest.*`.

A round measures everything once, odd rounds in reverse order. Quick: two rounds of short loads, and what is measured on
some systems only in the first of them: good enough to see that all works, not to compare by.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import measure, special
from bench.chart import chart
from bench.machine import CORES, LOAD_CORE, Failed, describe
from bench.measure import FULL, QUICK, Lengths, Metrics
from bench.origin import Around, Origins
from bench.report import reach, summary
from bench.rows import ROWS, verdict
from bench.statistics import Samples
from bench.systems import KUBERNETES, SYSTEMS

RESULTS = Path(__file__).parent / "results"
BUSY = 1.0  # load average before the start, above which others disturb the run
Step = tuple[str, str, Callable[[], Metrics]]  # what, on which system


def main() -> int:
    """Measure, print, write; 1 where a system failed."""
    options = _options()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))  # inherited by all
    os.sched_setaffinity(0, {LOAD_CORE})
    if len(CORES) < 2:
        print("one core only: the load disturbs what is measured", file=sys.stderr)
    lengths = QUICK if options.quick else FULL
    rounds = options.rounds or (2 if options.quick else 5)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    begun, load = time.monotonic(), os.getloadavg()[0]
    if load > BUSY:
        print(f"the machine is busy (load average {load:.1f}): nothing that is measured now is to be believed")
    try:
        with Origins(folder) as around:
            samples = _rounds(around, lengths, rounds, options)
    except Failed as failure:
        print(f"\nFAILED: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    minutes = (time.monotonic() - begun) / 60
    kind = "quick run, for orientation only" if options.quick else "full run"
    day = time.strftime("%Y-%m-%d", time.gmtime())
    heading = (
        f"{day}, {describe()}. {kind}, {rounds} rounds, {minutes:.0f} min: `make bench{' QUICK=1' * options.quick}`."
    )
    if load > BUSY:
        heading += f" Other work ran on the machine (load average {load:.1f} at the start): not to be believed."
    _write(samples, heading)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--quick", action="store_true", help="two short rounds, under three minutes")
    parser.add_argument("--rounds", type=int, help="default: 5, quick 2")
    parser.add_argument("--only", default="", help=f"systems, by comma: {', '.join((*SYSTEMS, *KUBERNETES))}")
    parser.add_argument("--no-special", action="store_true", help="leave out scale, filters, WebSocket and balance")
    return parser.parse_args()


def _rounds(around: Around, lengths: Lengths, rounds: int, options: argparse.Namespace) -> Samples:
    samples = Samples()
    plans = []
    for number in range(rounds):
        apart = not options.no_special and (number == 0 or not options.quick)
        plan = _plan(around, lengths, set(filter(None, options.only.split(","))), special_too=apart)
        plans.append(plan[::-1] if number % 2 else plan)
    total, done, begun = sum(map(len, plans)), 0, time.monotonic()
    for number, plan in enumerate(plans):
        for what, system, measured in plan:
            left = (time.monotonic() - begun) / done * (total - done) / 60 if done else 0
            print(
                f"round {number + 1}/{rounds}, {done + 1}/{total}, {left:4.1f} min left: {what} {system}",
                end="",
                flush=True,
            )
            metrics = measured()
            samples.add(number, system, metrics)
            done += 1
            print("  " + ", ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:5]), flush=True)
    return samples


def _plan(around: Around, lengths: Lengths, only: set[str], *, special_too: bool) -> list[Step]:
    plan: list[Step] = [("the origin itself:", "direct", partial(measure.direct, around, lengths))]
    plan += [("core", key, partial(measure.core, system, around, lengths)) for key, system in SYSTEMS.items()]
    plan += [("memory", key, partial(special.kubernetes, key, around, lengths)) for key in KUBERNETES]
    if special_too:
        for what, keys in special.ON.items():
            plan += [(what.__name__, key, partial(what, SYSTEMS[key], around, lengths)) for key in keys]
        plan += [("balance", column, partial(special.balance, column, around, lengths)) for column in special.POLICIES]
    return [step for step in plan if not only or step[1] in only or step[1] == "direct"]


def _write(samples: Samples, heading: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.md").write_text(f"{summary(samples, heading)}\n![CPU for one request](latest.svg)\n")
    (RESULTS / "latest.svg").write_text(chart(samples, heading.replace("`", "")))
    reached = [
        {
            "row": row.name,
            "engine": engine,
            "must": row.must,
            "aim": row.aim,
            **vars(found),
            "verdict": verdict(row, found.middle),
        }
        for row in ROWS
        for engine in ("aiohttp", "native")
        if (found := samples.ratio(row.make(engine)))
    ]
    data = {"heading": heading, "reached": reached, "rounds": [_rounded(one) for one in samples.rounds]}
    (RESULTS / "latest.json").write_text(json.dumps(data, indent=1) + "\n")
    print(f"\n{heading}\n\n{reach(samples)}\nall tables: {RESULTS / 'latest.md'}, picture: {RESULTS / 'latest.svg'}")


def _rounded(one: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {metric: {key: float(f"{value:.4g}") for key, value in row.items()} for metric, row in one.items()}


if __name__ == "__main__":
    sys.exit(main())
