"""An error's answer: status, Proxy-Status by the letter, text or JSON, nothing of our insides."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import errors
from sidecar.errors import BadRequest, ConnectFailed, ProxyError, Unauthorized
from sidecar.listener.answers import MAX_DETAILS, error_response, reason_phrase
from sidecar.model import Address, Attempt, Headers, Request, Response

# RFC 9209 §2: a list of sf-token with parameters; RFC 8941 §3.3.3: sf-string
PROXY_STATUS = re.compile(r'sidecar; error=[a-z_]+; details="(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"')


def request(accept: str | None = None) -> Request:
    headers = Headers() if accept is None else Headers([(b"accept", accept.encode())])
    return Request(method="GET", target=b"/", authority="shop", headers=headers)


def body(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def leaves(kind: type[ProxyError]) -> list[type[ProxyError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in leaves(child))]


@pytest.mark.parametrize("kind", leaves(ProxyError), ids=lambda kind: kind.__name__)
def test_each_error_has_status_flag_and_words(kind: type[ProxyError]) -> None:
    error = kind("the cause", "Bearer") if kind is Unauthorized else kind("the cause")
    response = error_response(error, request())
    assert response.status == error.status
    assert 400 <= error.status < 600
    assert response.reason == reason_phrase(error.status).encode() != b""
    assert response.error is error
    assert body(response) == f"{error.status} {reason_phrase(error.status)}: the cause\n"
    assert PROXY_STATUS.fullmatch(response.headers.get("proxy-status") or "")
    assert re.fullmatch(r"[a-z_]+", error.error_type)
    assert re.fullmatch(r"-|[A-Z]{2,4}", error.flag)


@given(st.text())
def test_any_cause_makes_a_well_formed_field_and_body(text: str) -> None:
    response = error_response(ProxyError(text), request())
    assert PROXY_STATUS.fullmatch(response.headers.get("proxy-status") or "")
    said = body(response)
    assert said.endswith("\n")
    assert said[:-1].isprintable()
    assert len(said) < MAX_DETAILS + 60


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, False),
        ("*/*", False),
        ("text/html,application/json", False),
        ("text/html", False),
        ("application/json", True),
        ("application/json, text/html", True),
        ("application/xml, application/json", True),
        ("application/vnd.api+json", True),
    ],
)
def test_json_where_the_client_prefers_it(accept: str | None, wanted: bool) -> None:
    response = error_response(ProxyError("x"), request(accept))
    kind = response.headers.get("content-type")
    assert kind == ("application/json" if wanted else "text/plain; charset=utf-8")


def test_json_tells_of_each_attempt() -> None:
    asked = request("application/json")
    refused = Attempt("app", Address("10.0.0.1", 80), 0, 0)
    refused.details = "refused"
    answered = Attempt("app", Address("10.0.0.2", 80), 1, 0)
    answered.status = 503
    broken = Attempt("app", Address("10.0.0.3", 80), 2, 0)
    broken.error_type = "connection_reset"
    asked.attempts += [refused, answered, broken]
    said = json.loads(body(error_response(ConnectFailed('it "broke"'), asked)))
    assert said == {
        "status": 502,
        "error": "connect_failed",
        "details": 'it "broke"',
        "attempts": [
            {"endpoint": "10.0.0.1:80", "outcome": "refused"},
            {"endpoint": "10.0.0.2:80", "outcome": "503"},
            {"endpoint": "10.0.0.3:80", "outcome": "connection_reset"},
        ],
    }


def test_bytes_that_were_no_request_are_answered_in_text() -> None:
    assert body(error_response(BadRequest("what?", 431), None)).startswith("431 Request Header Fields Too Large: ")


def test_unknown_status_has_no_phrase() -> None:
    assert reason_phrase(799) == ""


def test_tree_in_the_docstring_names_every_error() -> None:
    for kind in leaves(ProxyError):
        assert kind.__name__ in (errors.__doc__ or "")
