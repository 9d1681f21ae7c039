"""The error tree: every failure knows its answer.

    ProxyError 500
    ├── BadRequest 400 DPE          the client's message breaks a rule
    ├── LoopDetected 508 -          the request came through this sidecar already
    ├── NoRoute 404 NR              no rule takes the request
    ├── BadBackend 500 -            the rule names no usable backend
    ├── FilterFailed 500 -          a filter raised or answered nonsense
    ├── Unauthorized 401 UAEX       no credentials, or none that hold
    ├── Forbidden 403 UAEX          who calls is known and may not
    ├── AuthUnavailable 503 UAEX    what decides on credentials cannot be asked
    ├── NotAcceptable 406 -         no content coding that the client takes (filter Compress)
    ├── FilterOverflow 503 UO       a filter holds as much as it may
    ├── NotStored 504 -             the client wants a stored response only
    ├── RequestTimeout 504 UT       the route's `request` timeout ran out
    ├── TooManyConnections 503 UO   the listener holds as many as it may
    └── UpstreamError 502 UF        something upstream of us failed
        ├── NoHealthyEndpoint 503 UH
        ├── UpstreamOverflow 503 UO
        ├── DnsFailed 502 UF
        ├── ConnectFailed 502 UF / TlsFailed 502 UF / ConnectTimeout 504 UF
        ├── UpstreamReset 502 UC    the connection ended before a whole response came
        ├── UpstreamProtocol 502 UPE the response breaks a rule
        └── UpstreamTimeout 504 UT

`flag` is Envoy's access-log response flag, `proxy_error` the error type of the `Proxy-Status` field (RFC 9209 §2.3),
`error_type` the value of the span attribute `error.type`.
"""


class ConfigError(Exception):
    """The configuration is wrong. `path` names the field as in `$.listeners[0].address`, `reason` what was expected.

    `file` is the file it stands in, as `name` or `name:line:column`, where that is known.
    """

    def __init__(self, path: str, reason: str, *, file: str = "") -> None:
        super().__init__(": ".join(part for part in (file, path, reason) if part))
        self.path = path
        self.reason = reason
        self.file = file


class StartError(Exception):
    """The sidecar cannot start though its configuration is right (port in use …); the text says what to do."""


class ProxyError(Exception):
    """A failure with an answer; `str(error)` is safe to show to the client."""

    status = 500
    flag = "-"
    proxy_error = "proxy_internal_error"
    error_type = "internal"
    close = False  # whether the downstream connection must end with the answer
    headers: tuple[tuple[str, str], ...] = ()  # further fields of the answer


class BadRequest(ProxyError):
    """The client's message breaks a rule."""

    status = 400
    flag = "DPE"
    proxy_error = "http_request_error"
    error_type = "bad_request"
    close = True

    def __init__(self, details: str, status: int = 400) -> None:
        super().__init__(details)
        self.status = status


class LoopDetected(ProxyError):
    """The request came through this sidecar already (RFC 9110 §7.6.3)."""

    status = 508
    proxy_error = "proxy_loop_detected"
    error_type = "loop"


class NoRoute(ProxyError):
    """No rule takes the request."""

    status = 404
    flag = "NR"
    proxy_error = "destination_not_found"
    error_type = "no_route"


class BadBackend(ProxyError):
    """The rule has no backend, or the one chosen does not exist (HTTPRoute: 500)."""

    proxy_error = "destination_not_found"
    error_type = "bad_backend"


class FilterFailed(ProxyError):
    """A filter raised, or answered with something that is no response."""

    error_type = "filter_failed"


class Unauthorized(ProxyError):
    """No credentials, or none that hold; `headers` carry the challenge (RFC 9110 §11.6.1)."""

    status = 401
    flag = "UAEX"
    proxy_error = "http_request_denied"
    error_type = "unauthorized"

    def __init__(self, details: str, challenge: str) -> None:
        super().__init__(details)
        self.headers = (("WWW-Authenticate", challenge),)


class Forbidden(ProxyError):
    """Who calls is known and may not."""

    status = 403
    flag = "UAEX"
    proxy_error = "http_request_denied"
    error_type = "forbidden"

    def __init__(self, details: str, challenge: str = "") -> None:
        super().__init__(details)
        self.headers = (("WWW-Authenticate", challenge),) if challenge else ()


class AuthUnavailable(ProxyError):
    """What decides on credentials cannot be asked, so nobody passes."""

    status = 503
    flag = "UAEX"
    proxy_error = "destination_unavailable"
    error_type = "auth_unavailable"


class NotAcceptable(ProxyError):
    """The client accepts none of the forms in which the response could be sent (RFC 9110 §15.5.7)."""

    status = 406
    proxy_error = "http_request_denied"
    error_type = "not_acceptable"


class FilterOverflow(ProxyError):
    """A filter holds as much as it may."""

    status = 503
    flag = "UO"
    proxy_error = "connection_limit_reached"
    error_type = "filter_overflow"


class NotStored(ProxyError):
    """The client wants a stored response only, and there is none (RFC 9111 §5.2.1.7)."""

    status = 504
    proxy_error = "proxy_internal_response"
    error_type = "not_stored"


class RequestTimeout(ProxyError):
    """The route's `request` timeout ran out."""

    status = 504
    flag = "UT"
    proxy_error = "http_response_timeout"
    error_type = "request_timeout"
    blameless = False  # for the endpoint: the rest of the client's body was waited for


class TooManyConnections(ProxyError):
    """The listener holds as many connections as it may."""

    status = 503
    flag = "UO"
    proxy_error = "connection_limit_reached"
    error_type = "too_many_connections"
    close = True


class UpstreamError(ProxyError):
    """Something upstream of us failed."""

    status = 502
    flag = "UF"
    proxy_error = "destination_unavailable"
    error_type = "upstream_failed"


class NoHealthyEndpoint(UpstreamError):
    """The cluster has no endpoint that could take the request."""

    status = 503
    flag = "UH"
    error_type = "no_healthy_endpoint"


class UpstreamOverflow(UpstreamError):
    """A circuit limit of the cluster is reached."""

    status = 503
    flag = "UO"
    proxy_error = "connection_limit_reached"
    error_type = "overflow"


class DnsFailed(UpstreamError):
    """The name of the upstream did not resolve."""

    proxy_error = "dns_error"
    error_type = "dns"


class ConnectFailed(UpstreamError):
    """No connection: refused, unreachable, TLS failed. Nothing of the request was sent."""

    proxy_error = "connection_refused"
    error_type = "connect_failed"


class TlsFailed(ConnectFailed):
    """The TLS handshake failed. Nothing of the request was sent."""

    proxy_error = "tls_protocol_error"
    error_type = "tls"


class ConnectTimeout(ConnectFailed):
    """No connection within the connect timeout. Nothing of the request was sent."""

    status = 504
    proxy_error = "connection_timeout"
    error_type = "connect_timeout"


class UpstreamReset(UpstreamError):
    """The upstream connection ended before the whole response came.

    `unsent`: no byte of the request was written; `clean`: no byte of a response was read.
    """

    flag = "UC"
    proxy_error = "connection_terminated"
    error_type = "connection_reset"

    def __init__(self, details: str, *, unsent: bool = False, clean: bool = True) -> None:
        super().__init__(details)
        self.unsent = unsent
        self.clean = clean


class UpstreamProtocol(UpstreamError):
    """The upstream's bytes break a rule of HTTP."""

    flag = "UPE"
    proxy_error = "http_protocol_error"
    error_type = "upstream_protocol"


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer in time."""

    status = 504
    flag = "UT"
    proxy_error = "http_response_timeout"
    error_type = "upstream_timeout"
    blameless = False  # for the endpoint: the rest of the client's body was waited for
