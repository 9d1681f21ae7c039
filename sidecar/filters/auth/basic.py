"""HTTP Basic (RFC 7617) against a file of users with slow hashes.

Hashes are checked in two threads, with a bounded queue: who guesses passwords keeps two threads busy and no more.
An unknown user costs as much as a wrong password. What was verified once is remembered by a keyed hash while the file
stays as it is, so that a browser pays once.
"""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

from sidecar.config.model import BasicAuth
from sidecar.errors import AuthUnavailable, BadRequest, Unauthorized
from sidecar.filters.auth import challenge
from sidecar.filters.auth.claims import header_value
from sidecar.filters.auth.identity import Identity
from sidecar.filters.auth.ledger import Ledger
from sidecar.filters.auth.source import Source, follow_file
from sidecar.filters.auth.users import Credentials, Malformed, Users, basic_credentials, parse_users
from sidecar.filters.context import FilterContext
from sidecar.model import Filter, Handler, RawHeaders, Request, Response

MAX_CHECKING = 32  # passwords that wait for a thread or are in one
_THREADS = 2
_MAX_VERIFIED = 1000
_BCRYPT_BYTES = 72


def basic_auth(spec: BasicAuth, context: FilterContext, path: str) -> Filter:
    """Raises ConfigError where the file cannot be used."""
    ledger = Ledger("basic", context.count)
    verify = _verify()
    source = follow_file(
        spec.users_file, parse_users, context, kind="users", told=ledger.source, path=f"{path}.usersFile"
    )
    if source is None or context.keeper is None:
        return _BasicAuth(spec, None, None, ledger)
    key = ("auth passwords", spec.users_file, context.config_folder)
    return _BasicAuth(spec, source, context.keeper.keep(key, lambda: Passwords(verify)), ledger)


class Passwords:
    """Checks passwords in threads, a bounded number at a time, and remembers those that were right."""

    def __init__(self, verify: Callable[[str, bytes], bool]) -> None:
        self._verify = verify
        self._threads = ThreadPoolExecutor(_THREADS, "sidecar password")
        self._secret = secrets.token_bytes(32)
        self._checking: dict[bytes, asyncio.Future[bool]] = {}
        self._right: dict[bytes, None] = {}
        self._version = 0

    async def check(self, credentials: Credentials, users: Users, version: int) -> bool:
        """Whether user and password are right; raises AuthUnavailable where too many are being checked."""
        if version != self._version:
            self._right.clear()
            self._version = version
        digest = blake2b(b":".join(credentials), key=self._secret).digest()
        if digest in self._right:
            return True
        hashed = users.get(credentials.user)
        right = await self._in_thread(digest, hashed or users.decoy, credentials.password) and hashed is not None
        if right and version == self._version:
            if len(self._right) >= _MAX_VERIFIED:
                del self._right[next(iter(self._right))]
            self._right[digest] = None
        return right

    async def aclose(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, digest: bytes, hashed: str, password: bytes) -> bool:
        key = blake2b(hashed.encode(), key=digest).digest()  # the file may change while a check runs
        check = self._checking.get(key)
        if check is None:
            if len(self._checking) >= MAX_CHECKING:
                raise AuthUnavailable("too many passwords are being checked")
            try:
                check = asyncio.get_running_loop().run_in_executor(self._threads, self._verify, hashed, password)
            except RuntimeError:
                raise AuthUnavailable("the configuration has changed") from None
            self._checking[key] = check
            check.add_done_callback(lambda _: self._checking.pop(key, None))
        try:
            return await asyncio.shield(check)
        except asyncio.CancelledError:
            if check.cancelled():
                raise AuthUnavailable("the configuration has changed") from None
            raise


class _BasicAuth:
    """The filter."""

    __slots__ = ("_identity", "_ledger", "_passwords", "_source", "_spec")

    def __init__(
        self, spec: BasicAuth, source: Source[Users] | None, passwords: Passwords | None, ledger: Ledger
    ) -> None:
        self._spec = spec
        self._source = source
        self._passwords = passwords
        self._ledger = ledger
        written = () if spec.user_header is None else (spec.user_header,)
        self._identity = Identity(written, ("Authorization",) if spec.strip_credentials else ())

    async def __call__(self, request: Request, forward: Handler) -> Response:
        credentials = self._credentials(request)
        await self._check(request, credentials)
        self._identity.write(request.headers, self._lines(credentials.user))
        self._ledger.passed(request)
        return await forward(request)

    def explain(self) -> str:
        """What it would do, and with which users."""
        users = self._source.explain() if self._source is not None else self._spec.users_file
        return f"Auth basic: users: {users}"

    def _credentials(self, request: Request) -> Credentials:
        values = [value for name, value in request.headers if name.lower() == b"authorization"]
        try:
            found = basic_credentials(values)
        except Malformed as error:
            self._ledger.tell(request, "malformed")
            raise BadRequest(str(error)) from None
        if found is None:
            raise self._refusal(request, "missing", "user and password are needed")
        return found

    async def _check(self, request: Request, credentials: Credentials) -> None:
        source, passwords = self._source, self._passwords
        users = await source.first() if source is not None else None
        if source is None or users is None or passwords is None:
            self._ledger.tell(request, "unavailable")
            raise AuthUnavailable("the users are not known yet")
        try:
            right = await passwords.check(credentials, users, source.version)
        except AuthUnavailable:
            self._ledger.tell(request, "unavailable")
            raise
        if not right:
            raise self._refusal(request, "wrong_credentials", "user or password is wrong")

    def _refusal(self, request: Request, outcome: str, text: str) -> Unauthorized:
        self._ledger.tell(request, outcome)
        return Unauthorized(text, challenge.basic(self._spec.realm))

    def _lines(self, user: bytes) -> RawHeaders:
        name = self._spec.user_header
        value = header_value(user.decode("utf-8", "surrogateescape")) if name is not None else None
        return [] if name is None or value is None else [(name.encode(), value)]


def _verify() -> Callable[[str, bytes], bool]:
    """A function of hash and password that never raises; raises ImportError where the packages are not installed."""
    import argon2  # noqa: PLC0415 - with the packages of the extra
    import bcrypt  # noqa: PLC0415

    hasher = argon2.PasswordHasher()

    def verify(hashed: str, password: bytes) -> bool:
        try:
            if hashed.startswith("$argon2"):
                return hasher.verify(hashed, password)
            right = bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed.encode())
            return right and len(password) <= _BCRYPT_BYTES  # it looks at no more
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, ValueError):
            return False

    return verify
