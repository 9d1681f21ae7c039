"""Claims of a token whose signature holds (pure): the registered ones, rules over others, what becomes a header.

RFC 7519 §4.1. `exp` is required: what never ends cannot be taken back. A claim becomes a header only where its text is
one as it stands: nothing is trimmed, joined ambiguously or escaped on the way to the upstream.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.config.model import ClaimHeader, ClaimRule
from sidecar.filters.auth.tokens import RefusedToken
from sidecar.model import RawHeaders

_HEADER_VALUE = re.compile(rb"[!-~\x80-\xff](?:[ -~\x80-\xff]*[!-~\x80-\xff])?")
_SERVICE_ACCOUNT = "system:serviceaccount:"


class Expected(NamedTuple):
    """What the registered claims must say."""

    issuer: str
    audiences: frozenset[str]  # empty: any
    leeway: float  # seconds that clocks may differ


def judge(claims: Mapping[str, Any], expected: Expected, now: float) -> float:
    """When the token ends, leeway included, in seconds since 1970; raises RefusedToken."""
    leeway = expected.leeway
    ends = _time(claims, "exp")
    if ends is None:
        raise RefusedToken("malformed", "the token does not expire: it has no claim `exp`")
    if now >= ends + leeway:
        raise RefusedToken("expired", "the token has expired")
    if (begins := _time(claims, "nbf")) is not None and now < begins - leeway:
        raise RefusedToken("not_yet_valid", "the token is not valid yet")
    if (issued := _time(claims, "iat")) is not None and now < issued - leeway:
        raise RefusedToken("not_yet_valid", "the token was issued in the future")
    if claims.get("iss") != expected.issuer:
        raise RefusedToken("issuer", "the token is of another issuer")
    if expected.audiences and not expected.audiences.intersection(_audiences(claims.get("aud"))):
        raise RefusedToken("audience", "the token is for another audience")
    return ends + leeway


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -(2**53) < value < 2**53:
        raise RefusedToken("malformed", f"the claim `{name}` is no time")
    return value


def _audiences(value: object) -> Sequence[str]:
    found = [value] if isinstance(value, str) else value
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def lookup(claims: Mapping[str, Any], name: str) -> object:
    """The claim of this name, or at this JSON Pointer (RFC 6901) where it begins with `/`; None where there is none."""
    if not name.startswith("/"):
        return claims.get(name)
    found: object = claims
    for part in name[1:].split("/"):
        if not isinstance(found, dict):
            return None
        found = found.get(part.replace("~1", "/").replace("~0", "~"))
    return found


def text_of(value: object) -> str | None:
    """A text, number or truth as text; None for all else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def broken(rules: Sequence[ClaimRule], claims: Mapping[str, Any]) -> ClaimRule | None:
    """The first rule that does not hold."""
    return next((rule for rule in rules if not _holds(rule, lookup(claims, rule.claim))), None)


def _holds(rule: ClaimRule, value: object) -> bool:
    if rule.contains is not None:
        words = value.split(" ") if isinstance(value, str) else value
        return isinstance(words, list) and any(text_of(word) == rule.contains for word in words)
    text = text_of(value)
    return text is not None and (text == rule.equals or text in rule.one_of)


def account_of(claims: Mapping[str, Any]) -> tuple[str, str]:
    """Namespace and name of a Kubernetes service account, where all that names it agrees; raises RefusedToken.

    Source: KEP-1205, claims of bound tokens.
    """
    namespace = lookup(claims, "/kubernetes.io/namespace")
    name = lookup(claims, "/kubernetes.io/serviceaccount/name")
    subject = claims.get("sub")
    if not isinstance(namespace, str) or not isinstance(name, str):
        raise RefusedToken("malformed", "the token is none of a service account")
    if subject != f"{_SERVICE_ACCOUNT}{namespace}:{name}":
        raise RefusedToken("malformed", "the token names two service accounts")
    return namespace, name


def header_lines(wanted: Sequence[ClaimHeader], claims: Mapping[str, Any]) -> RawHeaders:
    """The lines that tell the upstream; a claim that is not there, or is an object, has none. Raises RefusedToken."""
    lines: RawHeaders = []
    for each in wanted:
        value = lookup(claims, each.claim)
        text = _joined(value, each.claim) if isinstance(value, list) else text_of(value)
        if text:
            lines.append((each.header.encode(), _header_value(text, each.claim)))
    return lines


def header_value(text: str) -> bytes | None:
    """The text in UTF-8 if a header can carry it unchanged, else None."""
    value = text.encode("utf-8", "surrogatepass")
    return value if _HEADER_VALUE.fullmatch(value) else None


def _header_value(text: str, name: str) -> bytes:
    value = header_value(text)
    if value is None:
        raise RefusedToken("malformed", f"the claim `{name}` cannot be a header")
    return value


def _joined(values: Sequence[object], name: str) -> str:
    texts = [text_of(each) for each in values]
    if any(text is None or not text or "," in text or text != text.strip() for text in texts):
        raise RefusedToken("malformed", f"the claim `{name}` cannot be a header")
    return ",".join(str(text) for text in texts)
