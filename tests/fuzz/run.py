"""Fuzz all targets, or those named: `python tests/fuzz/run.py --seconds 60 [TARGET ...]` (needs `atheris`).

Corpora grow in `.fuzz/TARGET`; what breaks a law is left in `.fuzz/crash-TARGET-*`. Exit code 1 where anything did.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.fuzz.targets import TARGETS  # noqa: E402 - after the path is known

PLACE = ROOT / ".fuzz"
ONE_INPUT = 5  # seconds that one input may take
LARGEST = 8_192  # bytes of an input


def main() -> int:
    """Run the targets one after the other, each for its share of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together (default: 60)")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=f"default: {' '.join(TARGETS)}")
    options = parser.parse_args()
    share = max(options.seconds // len(options.targets), 1)
    failed = [name for name in options.targets if not _fuzz(name, share)]
    return int(bool(failed))


def _fuzz(name: str, seconds: int) -> bool:
    corpus = PLACE / name
    corpus.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(TARGETS[name].SEEDS):
        (corpus / f"seed-{at}").write_bytes(seed)
    settings = [f"-max_total_time={seconds}", f"-timeout={ONE_INPUT}", f"-max_len={LARGEST}", "-print_final_stats=1"]
    settings.append(f"-dict={Path(__file__).with_name('http.dict')}")
    command = [sys.executable, "-m", "tests.fuzz.main", name, *settings, f"-artifact_prefix={PLACE}/crash-{name}-"]
    done = subprocess.run(
        [*command, str(corpus)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    text = done.stderr.decode("utf-8", "replace")
    units = re.search(r"number_of_executed_units:\s*(\d+)", text)
    print(f"{name}: {units[1] if units else '?'} executions in {seconds} s, exit code {done.returncode}", flush=True)
    if done.returncode:
        print(done.stdout.decode("utf-8", "replace")[-3000:], text[-3000:], flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
