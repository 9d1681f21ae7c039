"""An issuer of tokens with real keys, its JWK Sets, and servers that answer as a test says at each moment."""

import asyncio
import functools
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.origin import Origin, OriginConnection, Received

ISSUER = "https://issuer.example"
AUDIENCE = "orders"
Claims = Mapping[str, Any]

_MAKERS: Mapping[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
}


@functools.cache
def private_key(kind: str, name: str = "1") -> Any:  # noqa: ARG001 - keys with other names are others
    """A key of this kind, the same for the same name in one run."""
    return _MAKERS[kind]()


@functools.cache
def _public_jwk(kind: str, name: str) -> str:
    public = private_key(kind, name).public_key()
    maker = {"R": RSAAlgorithm, "ES": ECAlgorithm}.get(kind[:1] if kind.startswith("R") else kind[:2], OKPAlgorithm)
    return maker.to_jwk(public)


def jwk(kind: str, name: str = "1", **members: object) -> dict[str, Any]:
    """Its public part, with the key id `kind-name`; None as a member takes it out."""
    found = {**json.loads(_public_jwk(kind, name)), "kid": f"{kind}-{name}", **members}
    found.pop("key_ops", None)
    return {key: value for key, value in found.items() if value is not None}


def jwks(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def claims(**changes: object) -> dict[str, Any]:
    """Claims that hold for an hour; None takes one out."""
    now = time.time_ns() // 10**9
    whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 3600, **changes}
    return {name: value for name, value in whole.items() if value is not None}


def token(
    payload: Claims | None = None,
    *,
    kind: str = "ES256",
    name: str = "1",
    algorithm: str | None = None,
    headers: Mapping[str, object] | None = None,
) -> str:
    """A token that names its key."""
    algorithm = algorithm or ("EdDSA" if kind == "Ed448" else kind)
    said = {"kid": f"{kind}-{name}", **(headers or {})}
    said = {key: value for key, value in said.items() if value is not None}
    return jwt.encode(dict(payload or claims()), private_key(kind, name), algorithm, headers=said)


def get(authorization: str | None = None, *lines: str, path: str = "/") -> bytes:
    """A GET with credentials."""
    fields = [f"GET {path} HTTP/1.1", "Host: shop.example"]
    if authorization is not None:
        fields.append(f"Authorization: {authorization}")
    return "\r\n".join([*fields, *lines, "", ""]).encode()


def answer(body: bytes, status: str = "200 OK", *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines))
    return head.encode() + b"\r\n" + body


class Scripted:
    """A server that answers with `reply` as it is at that moment; bytes, or what a function of the request gives."""

    def __init__(self, reply: bytes | Callable[[Received], bytes]) -> None:
        self.reply = reply
        self.go = asyncio.Event()  # cleared, it holds its answers
        self.go.set()
        self.requests: list[Received] = []
        self.scheme = "http"
        self.address = ""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}/keys"

    async def serve(self, connection: OriginConnection) -> None:
        while (request := await connection.request()) is not None:
            self.requests.append(request)
            await self.go.wait()
            await connection.send(self.reply if isinstance(self.reply, bytes) else self.reply(request))


@asynccontextmanager
async def scripted(
    reply: bytes | Callable[[Received], bytes], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Scripted]:
    server = Scripted(reply)
    async with Origin(server.serve, tls=tls) as origin:
        server.scheme = "http" if tls is None else "https"
        server.address = origin.address
        yield server


def auth(**method: object) -> dict[str, Any]:
    """The rule's part of a configuration with one Auth filter."""
    return {"filters": [{"type": "Auth", "auth": method}]}


def jwt_rule(source: Mapping[str, object], *, rules: Sequence[object] = (), **fields: object) -> dict[str, Any]:
    """The same with tokens of the issuer here."""
    spec = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": source, "rules": list(rules), **fields}
    return auth(jwt=spec)
