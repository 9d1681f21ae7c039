"""What the demo prints: text for people, on terminals and in files of any encoding."""

import io

import pytest

from sidecar.demo.screen import WIDTH, Screen
from sidecar.demo.spans import Kind, Span
from sidecar.demo.tree import draw


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _span(span_id: str, parent_id: str, kind: Kind = "CLIENT", **attributes: str | int) -> Span:
    return Span(
        trace_id="01" * 16,
        span_id=span_id,
        parent_id=parent_id,
        name="GET",
        kind=kind,
        start_ns=0,
        end_ns=1_500_000,
        error="error_type" in attributes,
        attributes={key.replace("_", "."): value for key, value in attributes.items()},
    )


def test_columns_are_aligned_numbers_to_the_right() -> None:
    out = io.StringIO()
    Screen(out).table(("upstream", ">requests", "state"), [("orders-a", 7, "ready"), ("b", 1200, "")])
    assert out.getvalue().splitlines() == [
        "   upstream   requests   state",
        "   orders-a          7   ready",
        "   b              1200",
    ]


def test_claims_that_do_not_hold_are_kept_and_shown() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.claim("the sky is blue", held=True)
    screen.claim("the moon is cheese", held=False)
    assert out.getvalue() == "   ok        the sky is blue\n   NOT HELD  the moon is cheese\n"
    assert (screen.claims, screen.not_held) == (2, ["the moon is cheese"])


def test_headlines_are_wrapped() -> None:
    out = io.StringIO()
    Screen(out).headline("1. Balance", "word " * 60)
    assert max(map(len, out.getvalue().splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal, {"TERM": "xterm"}, True),
        (Terminal, {"TERM": "xterm", "NO_COLOR": ""}, False),
        (Terminal, {"TERM": "dumb"}, False),
        (io.StringIO, {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    stream: type[io.StringIO], environ: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    out = stream()
    Screen(out).claim("held", held=True)
    assert ("\x1b[" in out.getvalue()) is coloured


@pytest.mark.parametrize(("encoding", "drawn"), [("utf-8", "└─ b é"), ("ascii", "`- b ?"), ("latin-1", "`- b é")])
def test_box_characters_become_plain_where_the_encoding_lacks_them(encoding: str, drawn: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as out:
        Screen(out).say("└─ b é")
        assert raw.getvalue().decode(encoding) == f"{drawn}\n"


def test_progress_says_how_long_it_took_and_a_failure_ends_the_line() -> None:
    out = io.StringIO()
    screen = Screen(out)
    with screen.doing("starting"):
        pass
    with pytest.raises(ValueError, match="no"), screen.doing("starting more"):
        raise ValueError("no")
    assert out.getvalue() == "   starting ... 0.0 s\n   starting more ... \n"


def test_a_trace_is_drawn_as_a_tree_with_the_names_of_its_peers() -> None:
    spans = [
        _span("aa", "ff", "SERVER", url_path="/hello"),
        _span("bb", "aa", error_type="503", network_peer_address="127.0.0.1", network_peer_port=1),
        _span("cc", "aa", network_peer_address="127.0.0.1", network_peer_port=2),
    ]
    lines = list(draw(spans, {"127.0.0.1:2": "orders-d"}))
    key = len("http.response.status_code")
    assert lines == [
        "SERVER GET  1.5 ms",
        f"│     {'span, parent':{key}}  aa, ff",
        f"│     {'url.path':{key}}  /hello",
        "├─ CLIENT GET  1.5 ms  ERROR",
        f"│        {'span, parent':{key}}  bb, aa",
        f"│        {'network.peer.address':{key}}  127.0.0.1",
        f"│        {'network.peer.port':{key}}  1",
        f"│        {'error.type':{key}}  503",
        "└─ CLIENT GET  1.5 ms",
        f"         {'span, parent':{key}}  cc, aa",
        f"         {'network.peer.address':{key}}  127.0.0.1",
        f"         {'network.peer.port':{key}}  2  (orders-d)",
    ]


def test_a_span_of_a_caller_is_drawn_below_it_at_any_depth_and_roots_stand_side_by_side() -> None:
    spans = [_span("aa", ""), _span("bb", "aa"), _span("cc", "bb"), _span("dd", "")]
    titles = [line for line in draw(spans, {}) if "CLIENT" in line]
    assert titles == ["CLIENT GET  1.5 ms", "└─ CLIENT GET  1.5 ms", "   └─ CLIENT GET  1.5 ms", "CLIENT GET  1.5 ms"]
