"""Who gets the sidecar, and what becomes of the pod."""

import json
import re

import pytest

from sidecar import __version__
from sidecar.inject.patch import patch, spec_hash
from sidecar.inject.pointer import apply
from sidecar.inject.settings import Configuration, Inbound, Manifest, Settings
from sidecar.inject.undo import uninject
from tests.support import pods

STATUS, WARNING = "sidecar-proxy.io/status", "sidecar-proxy.io/warning"


def injected(name: str, settings: Settings | None = None) -> Manifest:
    pod = pods.make(name)
    apply(pod, patch(pod, settings or Settings()))
    return pod


def sidecar(pod: Manifest) -> Manifest:
    return dict(pod["spec"]["initContainers"][0])


def environment(container: Manifest) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container.get("env", ())}


CHANGED = [name for name, case in pods.TABLE.items() if case.inbound is not None]
SKIPPED = [name for name, case in pods.TABLE.items() if case.skipped]
UNTOUCHED = [name for name in pods.TABLE if name not in CHANGED + SKIPPED]


@pytest.mark.parametrize("name", CHANGED)
def test_the_sidecar_comes_first_with_a_port_for_each_name_taken(name: str) -> None:
    made = sidecar(injected(name))
    assert made["name"] == "sidecar"
    pairs = environment(made)["SIDECAR_INBOUND"]
    assert pairs == pods.TABLE[name].inbound
    ports = [port["containerPort"] for port in made["ports"] if not port["name"].startswith("sidecar-")]
    assert ports == [int(pair.partition(":")[0]) for pair in pairs.split(",") if pair]


@pytest.mark.parametrize("name", CHANGED)
def test_no_app_container_has_a_tcp_port_named_as_one_of_the_sidecars(name: str) -> None:
    pod = injected(name)
    ours = {port["name"] for port in sidecar(pod)["ports"]}
    theirs = {
        port.get("name")
        for each in pod["spec"]["containers"]
        for port in each.get("ports", ())
        if port.get("protocol", "TCP") == "TCP"
    }
    assert not ours & theirs


@pytest.mark.parametrize("name", CHANGED)
def test_every_probe_and_hook_by_name_finds_a_port_in_its_container_if_it_did_before(name: str) -> None:
    def lost(pod: Manifest) -> list[str]:
        return [
            port
            for each in pod["spec"]["containers"]
            for port in re.findall(r'"port": "([\w-]+)"', json.dumps(each))
            if port not in {known.get("name") for known in each.get("ports", ())}
        ]

    assert lost(injected(name)) == lost(pods.make(name))


@pytest.mark.parametrize("name", pods.TABLE)
def test_a_second_injection_changes_nothing(name: str) -> None:
    once = injected(name)
    twice = json.loads(json.dumps(once))
    apply(twice, patch(twice, Settings()))
    assert twice == once


@pytest.mark.parametrize("name", pods.TABLE)
def test_what_was_put_in_can_be_taken_out(name: str) -> None:
    pod, before = injected(name), pods.make(name)
    assert uninject(pod, Settings()) == (pod != before or STATUS in injected(name)["metadata"].get("annotations", {}))

    def numbered(whole: Manifest) -> str:  # probes keep the numbers
        return re.sub(r'"port": ("http[\w-]*"|\d+)', '"port"', json.dumps(whole, sort_keys=True))

    assert numbered(pod) == numbered(before)


@pytest.mark.parametrize("name", SKIPPED)
def test_a_pod_that_cannot_take_it_is_left_alone_with_the_reason(name: str) -> None:
    pod = injected(name)
    status = json.loads(pod["metadata"].pop("annotations")[STATUS])
    assert status["version"] == __version__
    assert status["skipped"].startswith(pods.TABLE[name].skipped)
    assert pod == pods.make(name)


@pytest.mark.parametrize("name", UNTOUCHED)
def test_a_pod_that_says_no_or_has_a_sidecar_is_not_touched(name: str) -> None:
    assert patch(pods.make(name), Settings()) == ()


def test_a_mirror_of_a_static_pod_is_not_touched() -> None:
    assert patch(pods.pod(annotations={"kubernetes.io/config.mirror": "x"}), Settings()) == ()


def test_the_status_names_version_hash_and_the_names_taken() -> None:
    notes = injected("a name in two containers")["metadata"]["annotations"]
    assert json.loads(notes[STATUS]) == {
        "version": __version__,
        "hash": spec_hash(Settings()),
        "ports": ["app:8080=http", "other:9090=http", "other:9091=web"],
        "preStop": ["app", "other"],
    }
    assert WARNING not in notes


def test_wrong_annotations_are_ignored_with_a_warning() -> None:
    pod = injected("annotations that are wrong")
    ignored = pod["metadata"]["annotations"][WARNING]
    assert ignored == "ignored: " + ", ".join(
        f"config.sidecar-proxy.io/{name}"
        for name in ("a", "config-map", "cpu-limt", "memory-limit", "no-proxy", "skip-inbound-ports")
    )
    assert sidecar(pod)["resources"]["requests"]["cpu"] == "50m"


def test_app_and_later_init_containers_find_the_proxy_but_keep_what_they_set() -> None:
    pod = injected("init containers")
    for each in (*pod["spec"]["initContainers"][1:], *pod["spec"]["containers"]):
        assert environment(each)["http_proxy"] == "http://127.0.0.1:15001"
    own = environment(injected("a proxy of its own")["spec"]["containers"][0])
    assert own == {"http_proxy": "http://proxy.example:3128", "A": "b", **_direct()}
    assert "no_proxy" not in environment(injected("a NO_PROXY of its own")["spec"]["containers"][0])


def _direct() -> dict[str, str]:
    return dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1,kubernetes.default.svc")


def test_a_template_without_metadata_gets_its_annotations() -> None:
    template: Manifest = {"spec": {"containers": [{"name": "app"}]}}
    apply(template, patch(template, Settings()))
    assert STATUS in template["metadata"]["annotations"]
    assert uninject(template, Settings())
    assert template == {"spec": {"containers": [{"name": "app"}]}}


def test_without_inbound_no_name_is_taken() -> None:
    pod = injected("a named port", Settings(inbound=Inbound(enabled=False)))
    assert environment(sidecar(pod))["SIDECAR_INBOUND"] == ""
    assert pod["spec"]["containers"][0]["ports"] == [{"name": "http", "containerPort": 8080}]


def test_the_pod_starts_with_the_configuration_of_the_settings_if_there_is_no_config_map() -> None:
    settings = Settings(config=Configuration(existing_config_map="mine", extra={"warm_timeout": "3s"}))
    pod = injected("plain", settings)
    assert json.loads(environment(sidecar(pod))["SIDECAR_CONFIG"])["warm_timeout"] == "3s"
    assert pod["spec"]["volumes"][0]["configMap"] == {"name": "mine", "optional": True}
    assert injected("its own configuration")["spec"]["volumes"][0]["configMap"]["name"] == "shop.proxy"


def test_the_hash_changes_with_the_settings_and_with_nothing_else() -> None:
    assert spec_hash(Settings()) == spec_hash(Settings())
    others = [Settings(otel={"OTEL_A": "1"}), Settings(no_proxy=("a",)), Settings(config=Configuration(extra={"a": 1}))]
    assert len({spec_hash(each) for each in (Settings(), *others)}) == 4


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("a named port", 3),
        ("plain", None),
        ("a hook before its end", 1),
        ("a hook after its start", 3),
        ("little time to end", None),
        ("a little more", 3),
    ],
)
def test_an_app_behind_the_sidecar_serves_on_for_a_while_unless_it_says_how_it_ends(
    name: str, seconds: int | None
) -> None:
    hooks = injected(name)["spec"]["containers"][0].get("lifecycle", {})
    assert hooks.get("preStop") == (None if seconds is None else {"sleep": {"seconds": seconds}})


def test_no_app_waits_where_the_settings_say_so() -> None:
    pod = injected("a named port", Settings(inbound=Inbound(pre_stop_sleep=0)))
    assert "lifecycle" not in pod["spec"]["containers"][0]
