"""The bytes of responses become exchanges: llhttp (through httptools, strict) with the limits it does not have.

It says whether the connection may carry another request after what it has seen; it knows no transport and no timer.
"""

import re
from typing import cast

import httptools

from sidecar.errors import ProxyError, UpstreamProtocol
from sidecar.model import RawHeaders
from sidecar.model.headers import FORBIDDEN_TRAILERS
from sidecar.upstream.exchange import Exchange
from sidecar.upstream.framing import Framing, is_asked_for

MAX_HEAD = 131_072  # bytes of one response head, and of what comes without a body byte: trailers, chunk extensions
MAX_FIELDS = 256  # header lines, and trailer lines
MAX_INTERIM = 64  # 1xx responses before the final one
_BEGINNINGS = frozenset({b"H", b"\r", b"\n"})  # llhttp takes RTSP/ and ICE/ too
_VERSIONS = frozenset({"1.1", "1.0"})  # llhttp takes 0.9 and 2.0 too
_LENGTHLESS = frozenset({101, 204})  # RFC 9110 §8.6: no Content-Length; one that came all the same is not passed on
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # RFC 9112 §4; llhttp takes any byte but CR and LF
_KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout\s*=\s*\"?(\d{1,6})")


class ResponseParser:
    """One for each connection; `expect` an exchange, then `feed`. The `on_` methods are httptools' callbacks."""

    def __init__(self) -> None:
        self.persistent = True
        self.keep_alive: float | None = None  # seconds that the upstream keeps an idle connection, if it says so
        self._exchange: Exchange | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._fields: RawHeaders = []
        self._reason = b""
        self._framing = Framing()
        self._field_bytes = 0  # of one head, or of trailers
        self._bare_bytes = 0  # since the last byte of a body
        self._interims = 0
        self._is_interim = False

    def expect(self, exchange: Exchange) -> None:
        """The next bytes answer this one."""
        self._exchange = exchange
        self._bare_bytes = self._field_bytes = self._interims = 0

    def untouched(self, exchange: Exchange) -> bool:
        """Whether no byte of a response to this exchange has been seen."""
        return not (exchange.status or self._bare_bytes or self._fields)

    def feed(self, exchange: Exchange, data: bytes) -> None:
        """Parse; raises ProxyError for what breaks a rule, and nothing can be read after that."""
        if not self._bare_bytes and not exchange.status and data[:1] not in _BEGINNINGS:
            raise UpstreamProtocol("the response does not begin with HTTP/ (RFC 9112 §4)")
        self._bare_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            exchange.early = data[cast("int", switch.args[0]) :]
        except httptools.HttpParserError as error:
            self.persistent = False
            cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
            if isinstance(cause, ProxyError):
                raise cause from None
            raise UpstreamProtocol(f"malformed response: {cause}") from None
        if self._bare_bytes > MAX_HEAD and not exchange.complete and not exchange.upgraded:
            what = "trailers or chunk extensions" if exchange.status else "response head"
            raise UpstreamProtocol(f"{what} over {MAX_HEAD} bytes")

    def on_message_begin(self) -> None:
        """A second response to one request cannot be trusted, nor what follows it."""
        if self._exchange is None or self._exchange.complete:
            self.persistent = False

    def on_status(self, reason: bytes) -> None:
        """Keep the reason phrase, which comes in pieces where the network cut it."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect header lines, and after the body trailer lines."""
        if len(self._fields) >= MAX_FIELDS:
            raise UpstreamProtocol(f"response with more than {MAX_FIELDS} header lines")
        size = len(name)
        self._field_bytes += size + len(value) + 4
        if self._field_bytes > MAX_HEAD:
            raise UpstreamProtocol(f"header or trailer lines over {MAX_HEAD} bytes")
        self._fields.append((name, value))
        if size in {14, 17} and not (self._exchange is not None and self._exchange.status):
            self._framing.note(name.lower(), value)
        elif size == 10 and name.lower() == b"keep-alive":
            found = _KEEP_ALIVE_TIMEOUT.search(value)
            if found:
                self.keep_alive = float(found[1])

    def on_headers_complete(self) -> None:
        """Publish the head: interim ones through the callback, the final one to the reader."""
        exchange = self._exchange
        if exchange is None or exchange.complete:
            return
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            raise UpstreamProtocol(f"response of HTTP/{version}")
        status = self._parser.get_status_code()
        fields, self._fields = self._fields, []
        reason, self._reason = self._reason, b""
        if _REASON.fullmatch(reason) is None:
            raise UpstreamProtocol("control bytes in the reason phrase (RFC 9112 §4)")
        if not 100 <= status < 600:  # below 100 its body would run into that of the final response
            raise UpstreamProtocol(f"response of status {status} (RFC 9110 §15)")
        self._framing.judge(version)
        self._field_bytes = 0
        if status < 200 and status != 101:
            self._pass_interim(exchange, status, reason, fields)
            return
        if status == 101 and not is_asked_for(exchange.upgrade, fields):
            raise UpstreamProtocol("101 Switching Protocols that nobody asked for (RFC 9110 §7.8)")
        if status in _LENGTHLESS:
            fields = [pair for pair in fields if pair[0].lower() != b"content-length"]
        exchange.upgraded = status == 101
        exchange.version = version
        exchange.status, exchange.reason, exchange.headers = status, reason, fields
        headless = exchange.method == "HEAD" and not exchange.upgraded
        if not (self._head_persists(fields) if headless else self._parser.should_keep_alive()):
            self.persistent = False
        if headless:  # the parser cannot be told that no body follows: begin with a new one
            self._parser = httptools.HttpResponseParser(self)
            exchange.finish()
        exchange.wake()

    def on_body(self, data: bytes) -> None:
        """Hand body bytes to the reader."""
        exchange = self._exchange
        if exchange is not None and not exchange.complete:
            self._bare_bytes = 0
            exchange.feed(data)
        else:
            self.persistent = False

    def on_message_complete(self) -> None:
        """The final response is whole."""
        if self._is_interim:
            self._is_interim = False
            return
        exchange = self._exchange
        if exchange is not None and exchange.status and not exchange.upgraded and not exchange.complete:
            exchange.trailers, self._fields = self._fields, []
            for name, _ in exchange.trailers:
                if name.lower() in FORBIDDEN_TRAILERS:
                    raise UpstreamProtocol(f"the trailer field {ascii(name)[1:]} may not come behind a body")
            exchange.finish()

    def _pass_interim(self, exchange: Exchange, status: int, reason: bytes, fields: RawHeaders) -> None:
        self._is_interim = True
        self._interims += 1
        if self._interims > MAX_INTERIM:
            raise UpstreamProtocol(f"more than {MAX_INTERIM} interim responses")
        if any(_frames_body(name.lower(), value) for name, value in fields):
            raise UpstreamProtocol(f"interim response {status} with a body (RFC 9112 §6.3)")
        if exchange.interim is not None:
            exchange.interim(status, reason, fields)

    def _head_persists(self, fields: RawHeaders) -> bool:
        """The parser, which waits for the body of a response to HEAD, cannot say: RFC 9112 §9.3 does."""
        closes = any(name.lower() == b"connection" and b"close" in value.lower() for name, value in fields)
        return self._parser.get_http_version() == "1.1" and not closes


def _frames_body(name: bytes, value: bytes) -> bool:
    """Whether llhttp would look for a body, as it does behind any interim response but 100: in the next head."""
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" \t0") != b"")
