"""Challenges (pure): the value of `WWW-Authenticate` for bearer tokens (RFC 6750 §3), Basic (RFC 7617 §2), API keys."""


def bearer(realm: str, error: str = "", description: str = "", scope: str = "") -> str:
    """`error` is left out where the request had no credentials of this kind (RFC 6750 §3.1)."""
    return _challenge("Bearer", realm=realm, error=error, error_description=description, scope=scope)


def basic(realm: str) -> str:
    """Clients are told to encode in UTF-8 (RFC 7617 §2.1)."""
    return _challenge("Basic", realm=realm, charset="UTF-8")


def api_key(realm: str) -> str:
    """No scheme is registered for API keys, and a 401 needs a challenge all the same (RFC 9110 §15.5.2)."""
    return _challenge("ApiKey", realm=realm)


def _challenge(scheme: str, **parameters: str) -> str:
    """Parameters as quoted strings in ASCII (RFC 9110 §5.6.4); empty ones are left out."""
    return f"{scheme} " + ", ".join(f'{name}="{_quoted(value)}"' for name, value in parameters.items() if value)


def _quoted(value: str) -> str:
    plain = value.encode("ascii", "replace").decode()
    return plain.replace("\\", "\\\\").replace('"', '\\"')
