"""The wire corpus against the native front: each case whole, in single bytes, and behind a good request."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.corpus import Case, load
from tests.support.process import sidecar
from tests.support.proxy import running_proxy
from tests.support.stage import Stage
from tests.support.stage_parts import config

CASES = load()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with Stage() as stage, running_proxy(config(stage.address)) as proxy:
        stage.at(proxy.addresses)
        stage.quiet = proxy.quiet
        yield stage


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.topic}/{case.name}")
async def test_case(stage: Stage, case: Case) -> None:
    for run in case.runs:
        try:
            await stage.play(case, run)
            await stage.quiet()
        except AssertionError as failure:
            raise AssertionError(f"[{run}] {failure}") from None


def test_there_are_300_cases_with_names_of_their_own_and_a_source() -> None:
    names = [case.name for case in CASES]
    assert len(names) >= 300
    assert len(set(names)) == len(names)
    assert all(case.why for case in CASES)


@pytest.mark.soak
async def test_corpus_against_a_process_of_its_own(tmp_path: Path) -> None:
    async with Stage() as stage:
        file = tmp_path / "sidecar.yaml"
        file.write_text(json.dumps(config(stage.address)))
        async with sidecar("run", "--config", str(file)) as process:
            listening = process.ready.removeprefix("ready: listening on ").split(", ")
            stage.at([word.strip() for word in listening])
            failures = []
            for case in CASES:
                for run in case.runs:
                    try:
                        await stage.play(case, run)
                    except AssertionError as failure:
                        failures.append(f"{case.name} [{run}]: {failure}")
            assert not failures, "\n".join(failures)
