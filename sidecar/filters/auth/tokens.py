"""Bearer tokens as they come (pure): where one stands, and what its header says before any key is asked.

RFC 6750 §2.1 (credentials), RFC 7515 §3.1 and §4.1 (compact form, header), RFC 8725 §3.1 (algorithms are pinned here, a
token cannot choose one). What points to keys from within a token (`jwk`, `jku`, `x5c`, `x5u`) is never looked at.
"""

import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

MAX_TOKEN = 8192  # bytes
_MAX_KID = 256  # characters
_MAX_HEADER = 2048  # bytes of base64
_CREDENTIALS = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*) *")
_SCHEME = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr](?: .*)?", re.DOTALL)
_PART = re.compile(rb"[A-Za-z0-9_-]+")


class RefusedToken(Exception):
    """A token that does not hold. `outcome` is the word for metrics and spans, the text may be shown to the client."""

    def __init__(self, outcome: str, details: str) -> None:
        super().__init__(details)
        self.outcome = outcome


class TokenHeader(NamedTuple):
    """What a token says of its signature."""

    algorithm: str
    kid: str | None


def bearer_token(authorization: Sequence[bytes]) -> bytes:
    """The token in the values of `Authorization`; raises RefusedToken, `missing` where none is meant to be one."""
    if len(authorization) > 1:
        raise RefusedToken("ambiguous", "more than one Authorization field")
    if not authorization or _SCHEME.fullmatch(authorization[0]) is None:
        raise RefusedToken("missing", "a bearer token is needed")
    if len(authorization[0]) > MAX_TOKEN:
        raise RefusedToken("malformed", f"the token is longer than {MAX_TOKEN} bytes")
    match = _CREDENTIALS.fullmatch(authorization[0])
    if match is None:
        raise RefusedToken("malformed", "the credentials are no bearer token")
    return match[1]


def read_header(token: bytes, algorithms: Collection[str]) -> TokenHeader:
    """Judge form and header of a token; raises RefusedToken."""
    parts = token.split(b".")
    if len(parts) == 5:
        raise RefusedToken("malformed", "the token is encrypted")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts) or len(parts[0]) > _MAX_HEADER:
        raise RefusedToken("malformed", "the token is no signed JWT in compact form")
    header = parse_object(decoded(parts[0]), "header")
    if "crit" in header or "b64" in header:  # no extension is understood (RFC 7515 §4.1.11, RFC 7797 §6)
        raise RefusedToken("malformed", "the token needs an extension that is not supported")
    if "enc" in header or "zip" in header or _is_nested(header):
        raise RefusedToken("malformed", "the token holds another token")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise RefusedToken("algorithm", "the token is signed with an algorithm that is not allowed")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= _MAX_KID):
        raise RefusedToken("malformed", "the token names no key that could be one")
    return TokenHeader(algorithm, kid)


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object with each name once and finite numbers; raises RefusedToken."""
    try:
        found = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except (ValueError, RecursionError):
        raise RefusedToken("malformed", f"the token's {what} is no JSON object") from None
    if not isinstance(found, dict):
        raise RefusedToken("malformed", f"the token's {what} is no JSON object")
    return found


def decoded(part: bytes) -> bytes:
    """Base64url without padding (RFC 7515 §2); raises RefusedToken."""
    try:
        return urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise RefusedToken("malformed", "the token is no signed JWT in compact form") from None


def _is_nested(header: dict[str, Any]) -> bool:
    content = header.get("cty")
    return content is not None and not (isinstance(content, str) and content.lower() == "json")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
