"""Trace context: what is read, what is written, what is thrown away."""

import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sidecar.model import Address, Attempt, Headers, Request
from sidecar.telemetry.arrival import Arrival
from sidecar.telemetry.propagation import (
    TRACE_FIELDS,
    TRACESTATE_LIMIT,
    Context,
    Propagator,
    fields_of,
    traceparent,
    tracestate,
)
from sidecar.telemetry.sampling import Sampler, always_off, always_on, parent_based
from sidecar.telemetry.trace import RequestTrace

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"
IDS = (int(TRACE, 16), int(SPAN, 16))


def attempt() -> Attempt:
    return Attempt(cluster="app", address=Address("10.0.0.1", 80), resend=0, start_ns=0)


def begin(
    headers: list[tuple[str, str]],
    propagators: tuple[str, ...] = ("tracecontext", "baggage"),
    sampler: Sampler = parent_based(always_on),  # noqa: B008 - a function
    untrusted: bool = False,
) -> RequestTrace:
    """The trace of a request with these headers."""
    lines = Headers([(name.encode(), value.encode("latin-1")) for name, value in headers])
    propagator = Propagator(propagators)
    fields = fields_of(lines)
    request = Request(method="GET", target=b"/", authority="app", headers=lines)
    trace = RequestTrace(Arrival(request, fields), propagator, random.Random(1), untrusted=untrusted)
    trace.start(propagator.extract(fields), fields, sampler)
    return trace


def sent(trace: RequestTrace) -> dict[str, str] | None:
    lines = trace.inject(attempt())
    return None if lines is None else {name.decode(): value.decode("latin-1") for name, value in lines}


# --- traceparent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-",
        f"00-{TRACE}-{SPAN}-0",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE}-{SPAN}-01.",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{TRACE}-{SPAN}-0A",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-.0",
        f"0G-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"FF-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}a-{SPAN}-01",
        f"00-{TRACE}-{SPAN}a-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}\xe9-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00--{TRACE}-{SPAN}-01",
        f"-00-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01what",
        f"cc-{TRACE}-{SPAN}-0",
        f"{SAMPLED},{SAMPLED}",
        f"{SAMPLED}\n",
    ],
)
def test_a_malformed_traceparent_starts_a_new_trace_and_drops_tracestate(value: str) -> None:
    trace = begin([("traceparent", value), ("tracestate", "a=1")])
    fields = sent(trace)
    assert fields is not None
    assert list(fields) == ["traceparent"]
    assert TRACE not in fields["traceparent"]
    assert trace.identity().parent_id == 0


@pytest.mark.parametrize("second", [SAMPLED, UNSAMPLED, "nonsense", ""])
def test_two_traceparent_lines_start_a_new_trace(second: str) -> None:
    trace = begin([("traceparent", SAMPLED), ("TraceParent", second), ("tracestate", "a=1")])
    fields = sent(trace)
    assert fields is not None
    assert TRACE not in fields["traceparent"]
    assert "tracestate" not in fields


@pytest.mark.parametrize("value", [SAMPLED, f" \t{SAMPLED}\t "])
@pytest.mark.parametrize("name", ["traceparent", "TraceParent", "TRACEPARENT", "tRaCePaReNt"])
def test_a_valid_traceparent_is_the_parent_whatever_the_case_of_its_name(name: str, value: str) -> None:
    trace = begin([(name, value)])
    fields = sent(trace)
    assert fields is not None
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", fields["traceparent"])
    assert SPAN not in fields["traceparent"]
    assert trace.identity().parent_id == IDS[1]


@pytest.mark.parametrize(
    "value", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", f"fe-{TRACE}-{SPAN}-01-"]
)
def test_a_future_version_is_continued_as_version_00(value: str) -> None:
    fields = sent(begin([("traceparent", value)]))
    assert fields is not None
    assert fields["traceparent"].startswith(f"00-{TRACE}-")
    assert len(fields["traceparent"]) == 55


@pytest.mark.parametrize(
    ("received", "sent_on"), [("01", "01"), ("03", "03"), ("ff", "03"), ("fd", "01"), ("09", "01"), ("0b", "03")]
)
@pytest.mark.parametrize("version", ["00", "01"])
def test_the_random_flag_is_copied_and_unknown_flags_are_zeroed(version: str, received: str, sent_on: str) -> None:
    fields = sent(begin([("traceparent", f"{version}-{TRACE}-{SPAN}-{received}")]))
    assert fields is not None
    assert fields["traceparent"].endswith(f"-{sent_on}")


def test_a_new_trace_says_that_its_id_is_random() -> None:
    fields = sent(begin([]))
    assert fields is not None
    assert fields["traceparent"].endswith("-03")


def test_each_attempt_has_its_own_parent_id_which_is_the_span_of_the_attempt() -> None:
    trace = begin([("traceparent", SAMPLED)])
    first, second = attempt(), attempt()
    lines = [trace.inject(first), trace.inject(second)]
    assert [dict(line)[b"traceparent"].split(b"-")[2] for line in lines if line] == [
        b"%016x" % first.span_id,
        b"%016x" % second.span_id,
    ]
    assert len({first.span_id, second.span_id, trace.span_id}) == 3


def test_an_unsampled_valid_context_is_forwarded_untouched() -> None:
    assert sent(begin([("traceparent", UNSAMPLED), ("tracestate", "a=1"), ("b3", "0")])) is None


def test_a_decision_against_sampling_is_told_upstream_where_the_caller_has_no_context() -> None:
    trace = begin([], sampler=always_off)
    fields = sent(trace)
    assert not trace.sampled
    assert fields is not None
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-02", fields["traceparent"])


@given(st.binary(max_size=80))
@example(SAMPLED.encode())
@example(b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00")
def test_any_traceparent_gives_a_context_with_ids_or_none(value: bytes) -> None:
    found = traceparent([value])
    if found is not None:
        assert 0 < found.trace_id < 1 << 128
        assert 0 < found.span_id < 1 << 64
        assert found.flags in range(4)
        assert value.strip(b" \t")[3:35] == b"%032x" % found.trace_id


@given(st.from_regex(r"\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z"))
def test_ids_agree_with_the_sdk_on_every_well_formed_traceparent(value: str) -> None:
    theirs = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": value})).get_span_context()
    ours = traceparent([value.encode()])
    expected = (theirs.trace_id, theirs.span_id, theirs.trace_flags.sampled) if theirs.is_valid else None
    assert ((ours.trace_id, ours.span_id, ours.sampled) if ours else None) == expected


# --- tracestate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "combined"),
    [
        (["a=1"], "a=1"),
        (["a=1,b=2"], "a=1,b=2"),
        (["a=1", "b=2"], "a=1,b=2"),
        (["b=2", "a=1", "c=3"], "b=2,a=1,c=3"),
        (["a=1 , b=2", "\t c=3 \t"], "a=1,b=2,c=3"),
        (["a=1,,b=2", "", " ,", "c=3,"], "a=1,b=2,c=3"),
        ([""], ""),
        ([], ""),
        (["a=1,a=2"], "a=1,a=2"),
        (["fw529a3039@dt=FfffRRRR", "0rojo=00"], "fw529a3039@dt=FfffRRRR,0rojo=00"),
        (["a= 1"], "a= 1"),
        (["a=x=y"], ""),
        (["ot=th:8;rv:1234"], "ot=th:8;rv:1234"),
        ([f"{'k' * 256}={'v' * 256}"], f"{'k' * 256}={'v' * 256}"),
        ([",".join(f"k{i}=1" for i in range(32))], ",".join(f"k{i}=1" for i in range(32))),
    ],
)
def test_tracestate_lines_are_combined_in_order(lines: list[str], combined: str) -> None:
    assert tracestate([line.encode() for line in lines]) == combined


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a=",
        "=1",
        "A=1",
        "a =1",
        "-a=1",
        "@a=1",
        "a.b=1",
        "a=\x7f",
        "a=\x1b[31m",
        "a=\xe9",
        "a=1;b\x00",
        "\xe9=1",
        f"{'k' * 257}=1",
        f"k={'v' * 257}",
        ",".join(f"k{i}=1" for i in range(33)),
    ],
)
def test_a_malformed_tracestate_is_dropped_whole_and_harms_no_traceparent(line: str) -> None:
    fields = sent(begin([("traceparent", SAMPLED), ("tracestate", "good=1"), ("tracestate", line)]))
    assert fields is not None
    assert fields["traceparent"].startswith(f"00-{TRACE}-")
    assert "tracestate" not in fields


def test_tracestate_alone_is_discarded() -> None:
    fields = sent(begin([("tracestate", "a=1")]))
    assert fields is not None
    assert "tracestate" not in fields


def test_tracestate_names_are_read_in_any_case_and_sent_as_one_line() -> None:
    lines = begin([("TraceState", "a=1"), ("traceparent", SAMPLED), ("TRACESTATE", "b=2")]).inject(attempt())
    assert lines is not None
    assert [value for name, value in lines if name == b"tracestate"] == [b"a=1,b=2"]


def test_over_the_limit_long_members_go_before_short_ones_and_those_from_the_end() -> None:
    long = [f"long{i}={'v' * 250}" for i in range(16)]
    short = [f"s{i}={'v' * 20}" for i in range(10)]
    members = [member for pair in zip(long, short, strict=False) for member in pair] + long[10:]
    kept = tracestate([",".join(members).encode()]).split(",")
    assert len(",".join(kept)) <= TRACESTATE_LIMIT
    assert [member for member in kept if member.startswith("s")] == short
    assert kept == [member for member in members if member in kept]
    assert long[0] in kept
    assert long[15] not in kept


def test_short_members_go_from_the_end_where_no_long_one_is_left() -> None:
    members = [f"m{i:02}={'v' * 124}" for i in range(32)]
    assert tracestate([",".join(members).encode()]).split(",") == members[:31]


member = st.from_regex(r"\A[a-z0-9][a-z0-9_*/@-]{0,40}=[!-+\--<>-~]{1,60}\Z")


@given(st.lists(member, max_size=32))
def test_every_well_formed_tracestate_within_the_limit_passes_unchanged(members: list[str]) -> None:
    joined = ",".join(members)
    if len(joined) <= TRACESTATE_LIMIT:
        assert tracestate([joined.encode()]) == joined


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_tracestate_gives_whole_members_of_visible_text(lines: list[bytes]) -> None:
    result = tracestate(lines)
    assert result == "" or all(re.fullmatch(r"[a-z0-9][^,=]*=[ -~]+", part) for part in result.split(","))


# --- B3 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{TRACE}-{SPAN}-1", Context(*IDS, sampled=True)),
        (f"{TRACE}-{SPAN}-0", Context(*IDS, sampled=False)),
        (f"{TRACE}-{SPAN}-d", Context(*IDS, sampled=True, debug=True)),
        (f"{TRACE}-{SPAN}", Context(*IDS, sampled=None)),
        (f"{TRACE}-{SPAN}-1-{SPAN}", Context(*IDS, sampled=True)),
        (f"{TRACE[16:]}-{SPAN}-1", Context(IDS[0] & (1 << 64) - 1, IDS[1], sampled=True)),
        (f"{TRACE.upper()}-{SPAN}-1", Context(*IDS, sampled=True)),
        ("0", Context(0, 0, sampled=False)),
        ("1", Context(0, 0, sampled=True)),
        ("d", Context(0, 0, sampled=True, debug=True)),
        ("", None),
        ("2", None),
        (f"{TRACE}-{SPAN}-2", None),
        (f"{TRACE}-{SPAN}-1-", None),
        (f"{TRACE}-{SPAN}-1-{SPAN}-x", None),
        (f"{TRACE}-{SPAN[1:]}-1", None),
        (f"{TRACE[1:]}-{SPAN}-1", None),
        (f"{'0' * 32}-{SPAN}-1", None),
        (f"{TRACE}-{'0' * 16}-1", None),
    ],
)
def test_a_single_b3_line_is_read(value: str, expected: object) -> None:
    assert Propagator(("b3",)).extract([(b"b3", value.encode())]) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({"traceid": TRACE, "spanid": SPAN, "sampled": "1"}, Context(*IDS, sampled=True)),
        ({"traceid": TRACE, "spanid": SPAN, "sampled": "true"}, Context(*IDS, sampled=True)),
        ({"traceid": TRACE, "spanid": SPAN, "sampled": "0", "parentspanid": SPAN}, Context(*IDS, sampled=False)),
        ({"traceid": TRACE, "spanid": SPAN, "flags": "1"}, Context(*IDS, sampled=True, debug=True)),
        ({"traceid": TRACE, "spanid": SPAN}, Context(*IDS, sampled=None)),
        ({"sampled": "0"}, Context(0, 0, sampled=False)),
        ({"flags": "1"}, Context(0, 0, sampled=True, debug=True)),
        ({"traceid": TRACE}, None),
        ({"spanid": SPAN}, None),
        ({"traceid": TRACE, "spanid": SPAN, "sampled": "maybe"}, None),
        ({}, None),
    ],
)
def test_several_b3_lines_are_read(lines: dict[str, str], expected: object) -> None:
    fields = [(f"x-b3-{name}".encode(), value.encode()) for name, value in lines.items()]
    assert Propagator(("b3multi",)).extract(fields) == expected


def test_repeated_b3_fields_are_not_believed() -> None:
    repeated = [(b"x-b3-traceid", TRACE.encode()), (b"x-b3-spanid", SPAN.encode()), (b"x-b3-spanid", SPAN.encode())]
    assert Propagator(("b3multi",)).extract(repeated) is None
    assert Propagator(("b3",)).extract([(b"b3", b"0"), (b"b3", b"1")]) is None


def test_the_single_line_goes_before_the_several() -> None:
    other = SPAN[::-1]
    fields = [
        (b"x-b3-traceid", TRACE.encode()),
        (b"x-b3-spanid", SPAN.encode()),
        (b"b3", f"{TRACE}-{other}-1".encode()),
    ]
    found = Propagator(("b3multi",)).extract(fields)
    assert found is not None
    assert found.span_id == int(other, 16)


@pytest.mark.parametrize(("name", "theirs"), [("b3", B3SingleFormat()), ("b3multi", B3MultiFormat())])
@pytest.mark.parametrize("flags", [0, 1])
def test_the_official_b3_propagators_read_what_ours_writes(name: str, theirs: TextMapPropagator, flags: int) -> None:
    lines = Propagator((name,)).inject(*IDS, flags)
    carrier = {key.decode(): value.decode() for key, value in lines}
    found = get_current_span(theirs.extract(carrier)).get_span_context()
    assert (found.trace_id, found.span_id, int(found.trace_flags)) == (*IDS, flags)


def test_b3_without_a_decision_leaves_it_to_our_sampler() -> None:
    header = [("b3", f"{TRACE}-{SPAN}")]
    assert begin(header, ("b3",)).sampled
    denied = begin(header, ("b3",), parent_based(always_off))
    assert not denied.sampled
    assert sent(denied) is None


def test_a_b3_decision_alone_is_obeyed() -> None:
    denied = begin([("b3", "0")], ("b3",))
    assert not denied.sampled
    assert sent(denied) is None
    accepted = begin([("b3", "1")], ("b3",), parent_based(always_off))
    assert accepted.sampled
    assert accepted.identity().parent_id == 0


def test_b3_debug_stays_debug() -> None:
    fields = sent(begin([("b3", f"{TRACE}-{SPAN}-d")], ("b3", "b3multi")))
    assert fields is not None
    assert fields["b3"].endswith("-d")
    assert fields["x-b3-flags"] == "1"
    assert "x-b3-sampled" not in fields


# --- several formats -------------------------------------------------------------------------------------------------


def test_every_configured_format_tells_the_same_and_others_are_dropped() -> None:
    stale = [(name, "stale") for name in ("uber-trace-id", "x-amzn-trace-id", "x-datadog-trace-id", "X-B3-TraceId")]
    trace = begin([("traceparent", SAMPLED), *stale], ("tracecontext", "b3", "b3multi"))
    lines = trace.inject(attempt())
    assert lines is not None
    fields = {key.decode(): value.decode() for key, value in lines}
    span_id = fields["traceparent"].split("-")[2]
    assert fields == {
        "traceparent": f"00-{TRACE}-{span_id}-01",
        "b3": f"{TRACE}-{span_id}-1",
        "x-b3-traceid": TRACE,
        "x-b3-spanid": span_id,
        "x-b3-sampled": "1",
    }
    assert {name.lower().encode() for name, _ in stale} <= TRACE_FIELDS
    assert {name for name, _ in lines} <= TRACE_FIELDS


def test_baggage_is_no_trace_field_so_that_it_passes_verbatim() -> None:
    assert b"baggage" not in TRACE_FIELDS


@pytest.mark.parametrize(
    ("order", "winner"), [(("tracecontext", "b3"), "b" * 16), (("b3", "tracecontext"), SPAN), (("tracecontext",), SPAN)]
)
def test_of_contexts_that_differ_the_last_configured_wins(order: tuple[str, ...], winner: str) -> None:
    headers = [("traceparent", SAMPLED), ("tracestate", "a=1"), ("b3", f"{'a' * 32}-{'b' * 16}-1")]
    trace = begin(headers, order)
    assert trace.identity().parent_id == int(winner, 16)
    assert trace.identity().trace_state == ("a=1" if winner == SPAN else "")


def test_no_propagator_leaves_the_callers_fields_as_they_are() -> None:
    trace = begin([("traceparent", SAMPLED)], ("none", "tracecontext"))
    assert trace.sampled
    assert trace.identity().parent_id == 0
    assert sent(trace) is None


def test_the_attempt_has_a_span_id_even_where_nothing_is_propagated() -> None:
    trace = begin([], ("none",))
    tried = attempt()
    trace.inject(tried)
    assert tried.span_id


# --- trust -----------------------------------------------------------------------------------------------------------


def test_a_restarted_trace_links_to_the_caller_and_hides_it_from_the_app() -> None:
    trace = begin([("traceparent", SAMPLED), ("tracestate", "a=1")], untrusted=True)
    fields = sent(trace)
    identity = trace.identity()
    assert fields is not None
    assert list(fields) == ["traceparent"]
    assert TRACE not in fields["traceparent"]
    assert (identity.parent_id, identity.trace_state) == (0, "")
    assert identity.link is not None
    assert (identity.link.trace_id, identity.link.span_id, identity.link.trace_state) == (*IDS, "a=1")


def test_a_callers_decision_does_not_bind_a_restarted_trace() -> None:
    assert begin([("traceparent", UNSAMPLED)], untrusted=True).sampled
    assert not begin([("traceparent", SAMPLED)], sampler=parent_based(always_off), untrusted=True).sampled
    assert begin([("b3", "0")], ("b3",), untrusted=True).identity().link is None


def test_nothing_of_an_untrusted_context_passes_where_none_is_written() -> None:
    assert sent(begin([("traceparent", SAMPLED)], ("none",), untrusted=True)) == {}
    fields = sent(begin([("traceparent", SAMPLED)], sampler=always_off, untrusted=True))
    assert fields is not None
    assert TRACE not in fields["traceparent"]
