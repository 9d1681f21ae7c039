"""Keys that verify tokens: a JWK Set or a shared secret, each key bound to the algorithms that are its own (pure).

RFC 7517, RFC 7518 §3 and §6, RFC 8037. The signatures are PyJWT's and cryptography's work. A key that is malformed, too
weak, private or a double is left out and named in `problems`.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

import jwt
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from sidecar.filters.auth.tokens import RefusedToken, TokenHeader

_MAX_KEYS = 100
_MOST_TRIED = 4  # keys for a token that names none
_RSA_BITS = range(2048, 8193)  # RFC 7518 §3.3; above, a signature costs too much
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
    "Ed25519": frozenset({"EdDSA"}),
    "Ed448": frozenset({"EdDSA"}),
}
_KINDS: dict[str, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518 §3.2: as long as the hash at least


class Key(NamedTuple):
    """One key and what it may verify."""

    kid: str | None
    algorithms: frozenset[str]
    material: Any  # what PyJWT takes


class Keys(Protocol):
    """Where tokens find their key."""

    problems: tuple[str, ...]

    def __len__(self) -> int: ...

    def find(self, header: TokenHeader) -> Sequence[Key]:
        """The keys to try, none where the token names an unknown one; raises RefusedToken."""


class KeySet:
    """The usable keys of a JWK Set."""

    __slots__ = ("_named", "_unnamed", "problems")

    def __init__(self, keys: Sequence[Key], problems: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        self._named = {key.kid: key for key in keys if key.kid is not None}
        self._unnamed = tuple(keys)

    def __len__(self) -> int:
        return len(self._unnamed)

    def find(self, header: TokenHeader) -> Sequence[Key]:
        """By its name; a token that names none may try the few keys that fit its algorithm."""
        if header.kid is not None:
            key = self._named.get(header.kid)
            if key is not None and header.algorithm not in key.algorithms:
                raise RefusedToken("algorithm", "the token is signed with an algorithm that is not its key's")
            return () if key is None else (key,)
        fitting = [key for key in self._unnamed if header.algorithm in key.algorithms]
        if len(fitting) > _MOST_TRIED:
            raise RefusedToken("unknown_key", "the token does not name its key")
        return fitting


class Secret:
    """One shared secret, whatever a token calls it."""

    __slots__ = ("_key", "problems")

    def __init__(self, secret: bytes, algorithms: Collection[str]) -> None:
        self.problems: tuple[str, ...] = ()
        self._key = Key(None, frozenset(algorithms), secret)

    def __len__(self) -> int:
        return 1

    def find(self, header: TokenHeader) -> Sequence[Key]:  # noqa: ARG002 - the one key of all tokens
        """The secret."""
        return (self._key,)


def parse_key_set(data: bytes) -> KeySet:
    """Read a JWK Set; raises ValueError where it holds no usable key."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it is no JWK Set: an object with a list `keys` (RFC 7517 §5)")  # noqa: TRY004 - a value
    keys: list[Key] = []
    problems: list[str] = []
    for at, entry in enumerate(entries[:_MAX_KEYS]):
        try:
            key = _key(entry)
        except ValueError as error:
            problems.append(f"key {at}: {error}")
            continue
        if key is not None and key.kid is not None and any(key.kid == other.kid for other in keys):
            problems.append(f"key {at}: its `kid` {key.kid[:80]!a} is taken by a key before it")
        elif key is not None:
            keys.append(key)
    if len(entries) > _MAX_KEYS:
        problems.append(f"more than {_MAX_KEYS} keys")
    if not keys:
        raise ValueError("; ".join(["it holds no key that verifies signatures", *problems[:3]]))
    return KeySet(keys, problems)


def parse_secret(data: bytes, algorithms: Collection[str]) -> Secret:
    """Read a shared secret, without the line break at its end; raises ValueError where it is too short."""
    secret = data.rstrip(b"\r\n")
    needed = max(_SECRET_BYTES[algorithm] for algorithm in algorithms)
    if len(secret) < needed:
        raise ValueError(f"it has {len(secret)} bytes, expected {needed} or more (RFC 7518 §3.2)")
    keys = Secret(secret, algorithms)
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.PyJWTError:
        raise ValueError("it is a public key or a JWK, and no secret") from None
    return keys


class Verifier:
    """Verifies signatures with the algorithms that are configured, and no other."""

    __slots__ = ("_jws",)

    def __init__(self, algorithms: Collection[str]) -> None:
        self._jws = jwt.PyJWS(algorithms=list(algorithms))

    def payload(self, token: bytes, header: TokenHeader, keys: Sequence[Key]) -> bytes:
        """The payload, if one of the keys made its signature; raises RefusedToken."""
        for key in keys:
            try:
                found: bytes = self._jws.decode(token, key.material, algorithms=[header.algorithm])
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError:
                raise RefusedToken("malformed", "the token is no signed JWT in compact form") from None
            return found
        raise RefusedToken("signature", "the token's signature does not hold")


def _key(entry: object) -> Key | None:
    """One key, None for one of another use; raises ValueError with what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - a value
    kind, kid, use = entry.get("kty"), entry.get("kid"), entry.get("use", "sig")
    operations = entry.get("key_ops", ["verify"])
    if use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    if kid is not None and not isinstance(kid, str):
        raise ValueError("its `kid` is no string")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"its type {ascii(kind)[:40]} is none that verifies with a public key")
    if "d" in entry:
        raise ValueError("it is a private key, which whoever reads the set can sign with")
    algorithms = _own_algorithms(entry, kind)
    try:
        material = _KINDS[kind].from_jwk(entry)
    except Exception:  # noqa: BLE001 - PyJWT raises what its decoders raise: TypeError, KeyError, binascii.Error …
        raise ValueError("it is malformed") from None
    if kind == "RSA" and material.key_size not in _RSA_BITS:
        raise ValueError(f"it has {material.key_size} bits, expected {_RSA_BITS.start} to {_RSA_BITS.stop - 1}")
    return Key(kid, algorithms, material)


def _own_algorithms(entry: dict[str, Any], kind: str) -> frozenset[str]:
    curve = entry.get("crv")
    fitting = _RSA if kind == "RSA" else _CURVES.get(curve if isinstance(curve, str) else "", frozenset())
    if not fitting:
        raise ValueError(f"its curve {ascii(curve)[:40]} is not supported")
    named = entry.get("alg")
    if named is None:
        return fitting
    if not isinstance(named, str) or named not in fitting:
        raise ValueError(f"its algorithm {ascii(named)[:40]} does not go with its type")
    return frozenset({named})
