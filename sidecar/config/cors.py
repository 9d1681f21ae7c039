"""The CORS filter's settings, field by field Gateway API's HTTPCORSFilter (GEP-1767, v1.5), and what they may hold.

Origins are judged where they are compiled (`filters/cors/origins.py`).
"""

from sidecar.config import fields
from sidecar.config.sections import GatewaySection
from sidecar.errors import ConfigError

_MAX_ITEMS = 64
_MAX_AGE = 2**31 - 1


class Cors(GatewaySection, frozen=True, kw_only=True):
    """HTTPCORSFilter, and `allowPrivateNetwork`. Empty: no other origin may do anything."""

    allow_origins: tuple[str, ...] = ()
    allow_credentials: bool = False
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: int = 5  # seconds
    allow_private_network: bool = False


class CorsFilter(GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="CORS"):
    """Says which pages of other origins may call, and answers their preflights."""

    cors: Cors = Cors()


def check_cors(spec: Cors, path: str) -> None:
    """Raise ConfigError for the first field that HTTPCORSFilter's rules forbid."""
    for name, values in (
        ("allowOrigins", spec.allow_origins),
        ("allowMethods", spec.allow_methods),
        ("allowHeaders", spec.allow_headers),
        ("exposeHeaders", spec.expose_headers),
    ):
        if len(values) > _MAX_ITEMS:
            raise ConfigError(f"{path}.{name}", f"expected {_MAX_ITEMS} at most, got {len(values)}")
    for name, values in (("allowOrigins", spec.allow_origins), ("allowMethods", spec.allow_methods)):
        if "*" in values and len(values) > 1:
            raise ConfigError(f"{path}.{name}", "`*` stands alone: it allows all others already")
    for at, method in enumerate(spec.allow_methods):
        fields.token(method, f"{path}.allowMethods[{at}]", "a method")
        if method != method.upper():
            raise ConfigError(f"{path}.allowMethods[{at}]", f"expected a method in upper case, got {method!a}")
    for name, values in (("allowHeaders", spec.allow_headers), ("exposeHeaders", spec.expose_headers)):
        for at, header in enumerate(values):
            fields.token(header, f"{path}.{name}[{at}]", "a header name")
        fields.unique((header.lower() for header in values), f"{path}.{name}", "header", field="")
    fields.unique(spec.allow_methods, f"{path}.allowMethods", "method", field="")
    fields.between(spec.max_age, f"{path}.maxAge", 1, _MAX_AGE)
