"""HTTP Basic through a running proxy: real hashes, a file that changes, and a cost that stays bounded."""

import asyncio
import base64
import threading
from pathlib import Path

import argon2
import bcrypt
import pytest

from sidecar.errors import AuthUnavailable
from sidecar.filters.auth.basic import MAX_CHECKING, Passwords
from sidecar.filters.auth.users import Credentials, Users
from tests.support.client import ask
from tests.support.issuer import auth, get
from tests.support.origin import Origin
from tests.support.proxy import eventually, reverse, running_proxy


def hashed(password: str, prefix: bytes = b"2b") -> str:
    found = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    return found.replace("$2b$", f"${prefix.decode()}$")


CHEAP_ARGON2 = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
BASIC = {"usersFile": "users"}


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


async def test_users_pass_with_bcrypt_and_argon2_and_the_upstream_is_told_who(tmp_path: Path) -> None:
    lines = [f"ann:{hashed('öpen')}", f"bob:{hashed('b', b'2y')}", f"eve:{CHEAP_ARGON2.hash('e:e')}", "# comment", ""]
    (tmp_path / "users").write_text("\n".join(lines))
    rule = auth(basic={**BASIC, "userHeader": "X-User", "stripCredentials": True})
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule), folder=tmp_path) as proxy:
        for user, password in (("ann", "öpen"), ("bob", "b"), ("eve", "e:e"), ("ann", "öpen")):
            answered = await ask(proxy.address, get(basic(user, password), "X-User: root", "x_user: root"))
            assert answered.status == 200
            assert origin.requests[-1].values(b"x-user") == [user.encode()]
            assert origin.requests[-1].values(b"x_user") == origin.requests[-1].values(b"authorization") == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (None, 401),
        ("Bearer x", 401),
        (basic("ann", "wrong"), 401),
        (basic("nobody", "right"), 401),
        (basic("ann", "r" * 73), 401),
        (basic("ann", ""), 401),
        (basic("ann", "ri\0ght"), 400),
        ("Basic !!!", 400),
        ("Basic YW5u", 400),
        (f"Basic {'YQ' * 600}", 400),
    ],
)
async def test_the_rest_is_refused_with_a_challenge(tmp_path: Path, sent: str | None, status: int) -> None:
    (tmp_path / "users").write_text(f"ann:{hashed('right')}\nbob:{hashed('r' * 72)}")
    rule = auth(basic={**BASIC, "realm": 'the "shop"'})
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule), folder=tmp_path) as proxy:
        answered = await ask(proxy.address, get(sent))
        assert (answered.status, origin.requests) == (status, [])
        if status == 401:
            assert answered.value(b"www-authenticate") == b'Basic realm="the \\"shop\\"", charset="UTF-8"'


async def test_a_password_that_bcrypt_would_cut_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"bob:{hashed('r' * 72)}")
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=auth(basic=BASIC)), folder=tmp_path) as proxy:
            assert (await ask(proxy.address, get(basic("bob", "r" * 72)))).status == 200
            assert (await ask(proxy.address, get(basic("bob", "r" * 73)))).status == 401


async def test_a_changed_file_takes_effect_at_once_and_a_broken_one_not_at_all(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"ann:{hashed('old')}")
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=auth(basic=BASIC)), folder=tmp_path) as proxy:
            told = proxy.proxy.telemetry.metrics.registry.get_sample_value

            def seen(outcome: str) -> float:
                labels = {"filter": "Auth", "outcome": outcome}
                return told("sidecar_filter_outcomes_total", labels) or 0.0

            assert (await ask(proxy.address, get(basic("ann", "old")))).status == 200
            users.write_text("ann:plain")
            await eventually(lambda: seen("source_failed"), "the broken file was not seen")
            assert (await ask(proxy.address, get(basic("ann", "old")))).status == 200
            users.write_text(f"ann:{hashed('new')}")
            await eventually(lambda: seen("source_changed") == 2, "the new file was not seen")
            assert (await ask(proxy.address, get(basic("ann", "old")))).status == 401, "remembered from the old file"
            assert (await ask(proxy.address, get(basic("ann", "new")))).status == 200


# --- the cost, against the part that bears it ------------------------------------------------------------------------


class Slow:
    """A hash that takes as long as the test likes."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.hashes: list[str] = []

    def __call__(self, hashed: str, password: bytes) -> bool:
        self.hashes.append(hashed)
        assert self.go.wait(10)
        return password == b"right"


USERS = Users({b"ann": "$2b$04$a", b"bob": "$2b$05$b"})


async def test_two_threads_check_and_a_bounded_queue_waits() -> None:
    slow = Slow()
    passwords = Passwords(slow)
    async with asyncio.TaskGroup() as tasks:
        checks = [
            tasks.create_task(passwords.check(Credentials(b"ann", b"%d" % number), USERS, 1))
            for number in range(MAX_CHECKING)
        ]
        await eventually(lambda: len(slow.hashes) == 2, "nothing is checked")
        with pytest.raises(AuthUnavailable, match="too many"):
            await passwords.check(Credentials(b"ann", b"one more"), USERS, 1)
        assert len(slow.hashes) == 2
        checks[5].cancel()
        slow.go.set()
    assert not any(check.result() for check in checks if not check.cancelled())
    await passwords.check(Credentials(b"ann", b"one more"), USERS, 1)
    await passwords.aclose()


async def test_what_was_right_once_costs_nothing_until_the_file_changes() -> None:
    slow = Slow()
    slow.go.set()
    passwords = Passwords(slow)
    right = Credentials(b"ann", b"right")
    assert await passwords.check(right, USERS, 1)
    assert await passwords.check(right, USERS, 1)
    assert len(slow.hashes) == 1
    assert await passwords.check(right, USERS, 2)
    assert len(slow.hashes) == 2
    for _ in range(2):
        assert not await passwords.check(Credentials(b"ann", b"wrong"), USERS, 2)
    assert len(slow.hashes) == 4, "a wrong password is not remembered"
    await passwords.aclose()


async def test_the_same_credentials_at_the_same_time_are_checked_once() -> None:
    slow = Slow()
    passwords = Passwords(slow)
    async with asyncio.TaskGroup() as tasks:
        same = [tasks.create_task(passwords.check(Credentials(b"ann", b"right"), USERS, 1)) for _ in range(6)]
        await eventually(lambda: slow.hashes, "nothing is checked")
        slow.go.set()
    assert all(each.result() for each in same)
    assert len(slow.hashes) == 1
    await passwords.aclose()


async def test_an_unknown_user_costs_as_much_as_the_costliest_known_one_and_is_never_right() -> None:
    slow = Slow()
    slow.go.set()
    passwords = Passwords(slow)
    assert not await passwords.check(Credentials(b"nobody", b"right"), USERS, 1)
    assert not await passwords.check(Credentials(b"nobody", b"right"), USERS, 1)
    assert slow.hashes == ["$2b$05$b"] * 2
    await passwords.aclose()


async def test_checks_that_a_reload_ends_are_no_answer_about_the_password() -> None:
    slow = Slow()
    passwords = Passwords(slow)

    async def checks() -> list[bool | BaseException]:
        each = [passwords.check(Credentials(b"ann", b"%d" % number), USERS, 1) for number in range(3)]
        return await asyncio.gather(*each, return_exceptions=True)

    async with asyncio.TaskGroup() as tasks:
        checked = tasks.create_task(checks())
        await eventually(lambda: len(slow.hashes) == 2, "nothing is checked")
        await passwords.aclose()
        with pytest.raises(AuthUnavailable):
            await passwords.check(Credentials(b"ann", b"later"), USERS, 1)
        slow.go.set()
    assert checked.result()[:2] == [False, False]
    assert isinstance(checked.result()[2], AuthUnavailable)
