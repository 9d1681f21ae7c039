"""RequestHeaderModifier and ResponseHeaderModifier: set, add and remove header lines (HTTPHeaderFilter).

Names and values were judged when the configuration was loaded; what only this filter knows is judged here.
All other lines keep their place, case and bytes.
"""

from collections.abc import Iterator

from sidecar.config.model import HeaderModifier, HeaderValue
from sidecar.errors import ConfigError
from sidecar.model import Filter, Handler, Headers, Request, Response


class _Edit:
    """The three actions in one pass over the lines, which is exact since a name has one action only."""

    __slots__ = ("_add", "_remove", "_set")

    def __init__(self, spec: HeaderModifier, path: str) -> None:
        _one_action_each(spec, path)
        self._set = {each.name.lower().encode(): _line(each) for each in spec.set}
        self._add = [_line(each) for each in spec.add]
        self._remove = frozenset(name.lower().encode() for name in spec.remove)

    def apply(self, headers: Headers) -> None:
        """Edit in place: a line that is set takes the place of the first of its name, or the end; added ones follow."""
        waiting = dict(self._set)
        kept: list[tuple[bytes, bytes]] = []
        for line in headers:
            name = line[0].lower()
            if name in self._set:
                if name in waiting:
                    kept.append(waiting.pop(name))
            elif name not in self._remove:
                kept.append(line)
        headers[:] = [*kept, *waiting.values(), *self._add]


def request_header_modifier(spec: HeaderModifier, path: str) -> Filter:
    """Change the request on its way up. Raises ConfigError."""
    for name, field in _names(spec):
        if name.lower() == "host":
            raise ConfigError(f"{path}.{field}", "the host is changed by the `hostname` of a URLRewrite filter")
    edit = _Edit(spec, path)

    async def modify_request_headers(request: Request, forward: Handler) -> Response:
        edit.apply(request.headers)
        return await forward(request)

    return modify_request_headers


def response_header_modifier(spec: HeaderModifier, path: str) -> Filter:
    """Change the response on its way down. Raises ConfigError."""
    edit = _Edit(spec, path)

    async def modify_response_headers(request: Request, forward: Handler) -> Response:
        response = await forward(request)
        edit.apply(response.headers)
        return response

    return modify_response_headers


def _line(header: HeaderValue) -> tuple[bytes, bytes]:
    return header.name.encode(), header.value.encode("latin-1")


def _names(spec: HeaderModifier) -> Iterator[tuple[str, str]]:
    """Each name with the field that holds it."""
    yield from ((each.name, f"set[{at}].name") for at, each in enumerate(spec.set))
    yield from ((each.name, f"add[{at}].name") for at, each in enumerate(spec.add))
    yield from ((name, f"remove[{at}]") for at, name in enumerate(spec.remove))


def _one_action_each(spec: HeaderModifier, path: str) -> None:
    """HTTPHeaderFilter: filters with several actions for any one header name are invalid."""
    first: dict[str, str] = {}
    for name, field in _names(spec):
        other = first.setdefault(name.lower(), field)
        if other != field:
            raise ConfigError(f"{path}.{field}", f"a header takes one action, and {other} is `{name}` already")
