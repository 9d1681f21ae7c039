"""A bearer token that the benchmark's `Auth` filter takes: HS256 with a key that guards nothing (RFC 7515)."""

import base64
import hashlib
import hmac
import json

from bench.systems import PEERS

KEY_FILE = PEERS / "jwt-key"
ISSUER = "https://bench.example"
_EXPIRES = 4_102_444_800  # the year 2100


def bearer() -> str:
    """The Authorization line."""
    head = _part({"alg": "HS256", "typ": "JWT"})
    body = _part({"iss": ISSUER, "aud": "bench", "sub": "load", "exp": _EXPIRES})
    signature = hmac.digest(KEY_FILE.read_bytes(), f"{head}.{body}".encode(), hashlib.sha256)
    return f"Authorization: Bearer {head}.{body}.{_base64(signature)}"


def _part(data: dict[str, object]) -> str:
    return _base64(json.dumps(data).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
