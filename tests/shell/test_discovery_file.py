"""EndpointSlice manifests in a file."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.config.model import FileSpec
from sidecar.discovery.file import FileSource
from tests.support.following import Collector, CountedMetrics, following

SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: [{ip}]}}]
"""


def manifest(ip: str, service: str = "orders", name: str = "a", namespace: str = "shop") -> str:
    return SLICE.format(ip=ip, service=service, name=name, namespace=namespace)


@asynccontextmanager
async def read(
    path: Path, metrics: CountedMetrics | None = None, namespace: str | None = None, port: int | str | None = None
) -> AsyncIterator[Collector]:
    spec = FileSpec(path=str(path), service="orders", namespace=namespace, port=port)
    async with following(FileSource(spec, metrics=metrics or CountedMetrics(), poll=0.01)) as found:
        yield found


async def test_documents_lists_and_json_are_read_and_changes_followed(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(
        "---".join([manifest("10.0.0.1"), manifest("10.0.0.2", "billing"), "kind: Service\nmetadata: {}\n"])
    )
    async with read(path) as found:
        assert (await found.has("10.0.0.1:8080")).origin == "file"
        path.write_text(
            f"kind: List\nitems:\n- {json.dumps(_as_dict('10.0.0.3'))}\n- {json.dumps(_as_dict('10.0.0.4'))}\n"
        )
        await found.has("10.0.0.3:8080", "10.0.0.4:8080")
        path.write_text(json.dumps([_as_dict("10.0.0.5")]))
        await found.has("10.0.0.5:8080")


def _as_dict(ip: str) -> dict[str, object]:
    return {
        "metadata": {"name": ip, "labels": {"kubernetes.io/service-name": "orders"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [ip]}],
    }


async def test_a_broken_file_keeps_the_last_endpoints_and_says_why_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(manifest("10.0.0.1"))
    async with read(path) as found:
        await found.has("10.0.0.1:8080")
        for wrong in ("[", "", "{}"):
            path.write_text(wrong)
        snapshot = await found.until(lambda one: one.last.problem)
        assert (snapshot.origin, found.addresses) == ("stale", ["10.0.0.1:8080"])
        path.unlink()
        snapshot = await found.until(lambda one: "No such file" in one.last.problem)
        assert found.addresses == ["10.0.0.1:8080"]
        path.write_text(manifest("10.0.0.2"))
        assert not (await found.has("10.0.0.2:8080")).problem
    assert sum("No such file" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize(("content", "expected"), [("[", "is no YAML"), ("", "is empty"), ("\x00", "is no YAML")])
async def test_a_file_that_was_never_good_says_why(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(content)
    async with read(path) as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert snapshot.problem.startswith(f"{path}: ")
        assert expected in snapshot.problem
        assert (snapshot.endpoints, snapshot.origin) == ((), "file")


async def test_a_config_map_volume_that_swaps_its_links_is_followed(tmp_path: Path) -> None:
    for folder, ip in (("one", "10.0.0.1"), ("two", "10.0.0.2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "endpoints.yaml").write_text(manifest(ip))
        os.utime(tmp_path / folder / "endpoints.yaml", ns=(1, 1))  # same time, same size: the inode tells
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "endpoints.yaml").symlink_to("..data/endpoints.yaml")
    async with read(tmp_path / "endpoints.yaml") as found:
        await found.has("10.0.0.1:8080")
        (tmp_path / "..tmp").symlink_to("two")
        (tmp_path / "..tmp").replace(tmp_path / "..data")
        await found.has("10.0.0.2:8080")


async def test_the_namespace_tells_services_of_one_name_apart(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(manifest("10.0.0.1") + "---" + manifest("10.0.0.2", name="b", namespace="other"))
    async with read(path) as found:
        await found.has("10.0.0.1:8080", "10.0.0.2:8080")
    async with read(path, namespace="other") as found:
        await found.has("10.0.0.2:8080")
    async with read(path, namespace="third") as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert not snapshot.exists
        assert "no EndpointSlice is labelled kubernetes.io/service-name: orders in namespace third" in snapshot.problem


async def test_an_unknown_port_and_empty_slices_are_told(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(manifest("10.0.0.1"))
    async with read(path, port="grpc") as found:
        assert "no port 'grpc'; ports of orders: http" in (await found.until(lambda one: one.last.problem)).problem
        path.write_text(manifest("10.0.0.1").replace("[{addresses: [10.0.0.1]}]", "[]"))
        await found.until(lambda one: "have no endpoints" in one.last.problem)


async def test_malformed_slices_are_counted_and_the_rest_is_used(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text("kind: EndpointSlice\n---" + manifest("10.0.0.1") + "---\n3\n")
    metrics = CountedMetrics()
    async with read(path, metrics) as found:
        await found.has("10.0.0.1:8080")
        assert metrics.skips == {"slice": 2}


async def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.discovery.file._MAX_BYTES", 10)
    path = tmp_path / "endpoints.yaml"
    path.write_text(manifest("10.0.0.1"))
    async with read(path) as found:
        await found.until(lambda one: "larger than 10 bytes" in one.last.problem)
