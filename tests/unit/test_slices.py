"""Parsing, folding and merging of EndpointSlices."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.discovery.manifests import SERVICE_LABEL, parse
from sidecar.discovery.slices import Deleted, Relisted, Slice, Slices, Upserted, apply, merge, of_service, port_names
from sidecar.model import Address


def manifest(name: str = "orders-1", *endpoints: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "shop", "labels": {SERVICE_LABEL: "orders"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": list(endpoints) or [{"addresses": ["10.0.0.1"]}],
        **changes,
    }


def pieces(*manifests: dict[str, Any]) -> tuple[Slice, ...]:
    return tuple(piece for one in manifests for piece in parse(one).slices)


def hosts(slices: tuple[Slice, ...], port: int | str | None = None, **options: Any) -> list[str]:
    return [str(endpoint.address) for endpoint in merge(slices, port, **options)]


def test_nil_conditions_mean_ready_and_serving_and_not_terminating() -> None:
    (endpoint,) = merge(pieces(manifest("a", {"addresses": ["10.0.0.1"], "conditions": {"ready": None}})))
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == (True, True, False)


def test_conditions_zone_node_pod_and_hints_are_kept() -> None:
    entry = {
        "addresses": ["10.0.0.1", "10.0.0.9"],
        "conditions": {"ready": False, "serving": False, "terminating": True},
        "zone": "a",
        "nodeName": "n1",
        "targetRef": {"name": "orders-x", "uid": "u1"},
        "hints": {"forZones": [{"name": "a"}, {"name": "b"}, {"nonsense": 1}, 3], "forNodes": [{"name": "n1"}]},
    }
    (endpoint,) = merge(pieces(manifest("a", entry)))
    assert endpoint.address == Address("10.0.0.1", 8080)  # addresses[0] only
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == (False, False, True)
    assert (endpoint.zone, endpoint.node, endpoint.name) == ("a", "n1", "orders-x")
    assert endpoint.for_zones == {"a", "b"}
    assert endpoint.for_nodes == {"n1"}


def test_malformed_endpoints_are_reported_and_the_rest_is_used() -> None:
    bad: list[Any] = [{}, {"addresses": []}, {"addresses": [7]}, {"addresses": ["x"]}, {"addresses": ["::1"]}, "x"]
    parsed = parse(manifest("a", *bad, {"addresses": ["10.0.0.1"]}))
    assert [problem.kind for problem in parsed.problems] == ["endpoint"] * len(bad)
    assert hosts(parsed.slices) == ["10.0.0.1:8080"]


def test_nil_ports_are_skipped_and_reported() -> None:
    ports: list[Any] = [{"name": "x"}, {"port": "80"}, {"port": True}, {"port": 70000}, {"name": 3, "port": 1}, "x"]
    parsed = parse(manifest("a", ports=[*ports, {"name": "http", "port": 8080}]))
    assert [problem.kind for problem in parsed.problems] == ["port"] * len(ports)
    assert hosts(parsed.slices) == ["10.0.0.1:8080"]
    assert [problem.kind for problem in parse(manifest("a", ports=None)).problems] == ["port"]


def test_ports_of_other_protocols_do_not_count() -> None:
    mixed = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "http", "port": 8080, "protocol": "TCP"}]
    assert port_names(pieces(manifest("a", ports=mixed))) == {"http"}


def test_malformed_slices_are_reported_by_kind() -> None:
    wrongs: list[Any] = [
        None,
        [],
        {},
        {"metadata": 3},
        manifest("a", metadata={"name": "a"}),
        manifest("a", addressType="IPX"),
    ]
    for wrong in wrongs:
        parsed = parse(wrong)
        assert parsed.slices == ()
        assert [problem.kind for problem in parsed.problems] == ["slice"]
    assert [problem.kind for problem in parse(manifest("a", endpoints=7)).problems] == ["slice"]


def test_fqdn_slices_are_ignored_without_a_word() -> None:
    assert parse(manifest("a", {"addresses": ["orders.example"]}, addressType="FQDN"))[2:] == ((), ())


def test_a_service_is_all_its_slices_and_the_port_belongs_to_the_slice() -> None:
    two = pieces(
        manifest("a", {"addresses": ["10.0.0.1"]}),
        manifest("b", {"addresses": ["10.0.0.2"]}, ports=[{"name": "http", "port": 9090}]),
    )
    assert hosts(two, 80) == hosts(two) == hosts(two, "http") == ["10.0.0.1:8080", "10.0.0.2:9090"]


def test_a_slice_with_several_ports_is_read_by_name_or_number() -> None:
    several = pieces(manifest("a", ports=[{"name": "http", "port": 8080}, {"name": "admin", "port": 9000}]))
    assert hosts(several, "admin") == hosts(several, 9000) == ["10.0.0.1:9000"]
    assert hosts(several, None) == hosts(several, 80) == hosts(several, "grpc") == []


def test_a_named_port_is_never_replaced_by_another() -> None:
    assert hosts(pieces(manifest("a")), "grpc") == []


def test_an_address_in_two_slices_counts_once_and_the_best_state_wins() -> None:
    ready = manifest("a", {"addresses": ["10.0.0.1"], "conditions": {"ready": True}})
    gone = manifest("b", {"addresses": ["10.0.0.1"], "conditions": {"ready": False, "terminating": True}})
    for order in (pieces(ready, gone), pieces(gone, ready)):
        (endpoint,) = merge(order)
        assert endpoint.ready
        assert not endpoint.terminating


def test_a_pod_with_two_address_families_counts_once_in_the_preferred_one() -> None:
    ref = {"targetRef": {"name": "p", "uid": "u"}}
    four = manifest("a", {"addresses": ["10.0.0.1"], **ref})
    six = manifest("b", {"addresses": ["fd00::1"], **ref}, addressType="IPv6")
    lone = manifest("c", {"addresses": ["fd00::2"]}, addressType="IPv6")
    both = pieces(four, six, lone)
    assert hosts(both) == ["10.0.0.1:8080", "[fd00::2]:8080"]
    assert hosts(both, families=("IPv6", "IPv4")) == ["[fd00::1]:8080", "[fd00::2]:8080"]
    assert hosts(both, families=("IPv4",)) == ["10.0.0.1:8080"]


def test_an_endpoints_object_folds_to_the_same_values() -> None:
    body = {
        "kind": "Endpoints",
        "metadata": {"name": "orders", "namespace": "shop"},
        "subsets": [
            {
                "addresses": [{"ip": "10.0.0.1", "nodeName": "n", "targetRef": {"name": "p"}}, {"ip": "fd00::1"}],
                "notReadyAddresses": [{"ip": "10.0.0.2"}, {"hostname": "x"}, 4],
                "ports": [{"name": "http", "port": 8080}],
            },
            "nonsense",
        ],
    }
    parsed = parse(body)
    assert (parsed.name, parsed.namespace) == ("orders", "shop")
    found = {str(endpoint.address): endpoint for endpoint in merge(of_service({"orders": parsed.slices}, "orders"), 80)}
    assert {name: endpoint.ready for name, endpoint in found.items()} == {
        "10.0.0.1:8080": True,
        "10.0.0.2:8080": False,
        "[fd00::1]:8080": True,
    }
    assert (found["10.0.0.1:8080"].node, found["10.0.0.1:8080"].name) == ("n", "p")
    assert sorted(problem.kind for problem in parsed.problems) == ["endpoint", "endpoint", "slice"]


ADDRESSES = st.sampled_from([f"10.0.0.{number}" for number in range(1, 5)])
ENTRIES = st.builds(
    lambda ip, ready, zone, uid: {
        "addresses": [ip], "conditions": {"ready": ready}, "zone": zone, "targetRef": {"uid": uid}
    },
    ADDRESSES, st.sampled_from([True, False, None]), st.sampled_from(["a", "b"]), st.sampled_from(["u", "v", "w"]),
)  # fmt: skip
MANIFESTS = st.builds(
    lambda name, entries, port: manifest(name, *entries, ports=[{"name": "http", "port": port}]),
    st.sampled_from(["s1", "s2", "s3"]), st.lists(ENTRIES, min_size=1, max_size=4), st.sampled_from([80, 81]),
)  # fmt: skip
EVENTS = st.lists(st.one_of(MANIFESTS, st.sampled_from(["s1", "s2", "s3"])), max_size=12)


@given(events=EVENTS, random=st.randoms(use_true_random=False))
def test_any_order_of_events_equals_a_relist(events: list[Any], random: Any) -> None:
    folded: Slices = {}
    final: dict[str, tuple[Slice, ...]] = {}
    for event in events:
        if isinstance(event, str):
            folded = apply(folded, Deleted(event))
            final.pop(event, None)
        else:
            parsed = parse(event)
            folded = apply(folded, Upserted(parsed.name, parsed.slices))
            final[parsed.name] = parsed.slices
    names = list(final)
    random.shuffle(names)
    relisted = apply(folded, Relisted({name: final[name] for name in names}))
    assert merge(of_service(folded, "orders"), "http") == merge(of_service(relisted, "orders"), "http")


def test_an_event_leaves_the_set_it_was_given_as_it_was() -> None:
    before: Slices = {"a": pieces(manifest("a"))}
    apply(before, Deleted("a"))
    apply(before, Upserted("b", ()))
    assert list(before) == ["a"]


KEYS = [
    "metadata", "name", "labels", SERVICE_LABEL, "addressType", "ports", "port", "endpoints", "subsets", "addresses",
    "ip", "conditions", "hints", "forZones", "targetRef", "kind",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=30,
)


@given(JSON)
def test_no_manifest_makes_the_parser_raise(value: Any) -> None:
    merge(parse(value).slices)
    if isinstance(value, dict):
        merge(parse(manifest() | value).slices)
