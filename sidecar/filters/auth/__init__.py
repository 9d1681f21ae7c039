"""Auth: who may pass. One kind of credentials a filter; what a kind needs is imported only where it is configured.

A request that passes is marked `authenticated`, so that a shared cache keeps its answer from others (RFC 9111 §3.5).
"""

from sidecar.config.model import Auth
from sidecar.errors import ConfigError
from sidecar.filters.context import FilterContext
from sidecar.model import Filter

__all__ = ["auth"]


def auth(spec: Auth, context: FilterContext, path: str) -> Filter:
    """Make the filter; reads the files that it names. Raises ConfigError."""
    try:
        if spec.jwt is not None:
            from sidecar.filters.auth.bearer import jwt_auth  # noqa: PLC0415 - PyJWT and cryptography

            return jwt_auth(spec.jwt, context, f"{path}.jwt")
        if spec.service_account is not None:
            from sidecar.filters.auth.bearer import service_account_auth  # noqa: PLC0415

            return service_account_auth(spec.service_account, context, f"{path}.serviceAccount")
        if spec.basic is not None:
            from sidecar.filters.auth.basic import basic_auth  # noqa: PLC0415

            return basic_auth(spec.basic, context, f"{path}.basic")
        if spec.api_key is not None:
            from sidecar.filters.auth.api_key import api_key_auth  # noqa: PLC0415

            return api_key_auth(spec.api_key, context, f"{path}.apiKey")
        if spec.forward is not None:
            from sidecar.filters.auth.forward import forward_auth  # noqa: PLC0415

            return forward_auth(spec.forward, context, f"{path}.forward")
        if spec.allow is not None:
            from sidecar.filters.auth.allow import allow_list  # noqa: PLC0415

            return allow_list(spec.allow, context)
    except ImportError as error:
        raise ConfigError(
            path, f"needs a package that is not installed: pip install 'sidecar[auth]' ({error.name})"
        ) from None
    raise ConfigError(path, "expected one kind of credentials")
