"""Where a request's time goes: `python -m bench.profile [--engine native] [--untraced] [--path /200]`.

py-spy samples the sidecar under load. A sample belongs to the innermost frame of a room of `sidecar/`, of aiohttp or
of opentelemetry, with what that calls in C (a write with the kernel's part of it); what none of them holds is the
event loop with its reads. Shares become microseconds by the CPU that a request took just before, without the sampler.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.load import request
from bench.machine import LOAD_CORE, Process, program
from bench.measure import Running, running
from bench.origin import Origins
from bench.systems import SYSTEMS

_FRAME = re.compile(r"(?P<function>.*) \((?P<file>.*?)(?::(?P<line>\d+))?\)$")
_ROOM = re.compile(r"(?:^|/)(sidecar/[a-z_]+|aiohttp|opentelemetry|multidict)(?:/|\.py)")
_LOOP = "event loop and its reads"
_MAIN = ("lifecycle/serve.py", "sidecar/cli.py")  # what they call is the loop
_RATE = 500  # samples a second


def main() -> int:
    """Profile one setting and print two tables."""
    parser = argparse.ArgumentParser(prog="bench.profile")
    parser.add_argument("--engine", choices=("aiohttp", "native"), default="native")
    parser.add_argument("--untraced", action="store_true", help="without spans")
    parser.add_argument("--path", default="/200", help="/200, /10k or /1m")
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    system = SYSTEMS[options.engine if options.untraced else f"{options.engine}+otel"]
    folder = Path(tempfile.mkdtemp(prefix="profile-"))
    try:
        with Origins(folder) as around, running(system, around) as served:
            requests = [request(options.path)]
            served.closed(requests, 1.0)
            before = served.process.kernel()
            result, cost = served.closed(requests, options.seconds / 2)
            kernel = (served.process.kernel() - before) / result.requests * 1e6
            stacks = _sample(served, requests, options.seconds, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{system.label}, {options.path}: {cost:.1f} µs of CPU for a request, {kernel:.1f} of them in the kernel\n")
    print(_by_room(stacks, cost))
    print(_by_function(stacks, cost))
    return 0


def _sample(served: Running, requests: list[bytes], seconds: float, folder: Path) -> Counter[str]:
    """Collapsed stacks with their number of samples."""
    target = folder / "stacks.txt"
    command = [program("py-spy"), "record", "--pid", str(served.process.pid), "--format", "raw", "--rate", str(_RATE)]
    command += ["--duration", str(int(seconds)), "--output", str(target), "--nonblocking"]
    log = folder / "py-spy.log"
    with Process(command, log=log, core=LOAD_CORE) as sampler:
        while sampler.running:
            served.closed(requests, 0.5)
    if not target.exists():
        raise subprocess.SubprocessError(f"py-spy failed (it needs the right to trace): {log.read_text()}")
    stacks: Counter[str] = Counter()
    for line in target.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[stack] += int(count)
    return stacks


def _place(stack: str) -> tuple[str, str]:
    """The room a stack's sample belongs to, and the function in it."""
    for text in reversed(stack.split(";")):
        frame = _FRAME.match(text)
        if frame and (room := _ROOM.search(frame["file"])) and not frame["file"].endswith(_MAIN):
            return room[1], f"{frame['function']} ({frame['file'].rpartition('sidecar/')[2]})"
    return _LOOP, "-"


def _by_room(stacks: Counter[str], cost: float) -> str:
    rooms: Counter[str] = Counter()
    for stack, count in stacks.items():
        rooms[_place(stack)[0]] += count
    return _table("room", rooms, cost)


def _by_function(stacks: Counter[str], cost: float) -> str:
    functions: Counter[str] = Counter()
    for stack, count in stacks.items():
        functions[_place(stack)[1]] += count
    return _table("function, with what it calls outside the rooms", functions, cost, most=25)


def _table(heading: str, counts: Counter[str], cost: float, most: int = 40) -> str:
    lines = [f"| {heading} | share | µs |", "| --- | ---: | ---: |"]
    for name, count in counts.most_common(most):
        share = count / counts.total()
        lines.append(f"| {name} | {share:.1%} | {share * cost:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
