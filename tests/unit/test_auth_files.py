"""Files of users and of API keys, and the credentials that are held against them."""

import base64
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.filters.auth.api_keys import parse_api_keys, query_values, without_query
from sidecar.filters.auth.users import Credentials, Malformed, basic_credentials, parse_users

BCRYPT = "$2b$10$" + "a" * 53
ARGON2 = "$argon2id$v=19$m=65536,t=3,p=4$" + "c2FsdHNhbHRzYWx0$" + "a" * 43


# --- users -----------------------------------------------------------------------------------------------------------


def test_users_are_read_with_comments_and_either_kind_of_line_end() -> None:
    users = parse_users(f"# all\r\nann:{BCRYPT}\r\n\n bob:{ARGON2} \n\u00e9:{BCRYPT}".encode())
    assert (len(users), users.problems) == (3, ())
    assert (users.get(b"ann"), users.get(b"bob"), users.get(b"eve")) == (BCRYPT, ARGON2, None)
    assert users.get("\u00e9".encode()) == BCRYPT


def test_the_decoy_is_the_costliest_hash() -> None:
    lines = [BCRYPT, BCRYPT.replace("$10$", "$12$"), BCRYPT.replace("$10$", "$09$")]
    assert parse_users("\n".join(f"{at}:{each}" for at, each in enumerate(lines)).encode()).decoy == lines[1]
    lines += [ARGON2, ARGON2.replace("t=3", "t=4")]
    assert parse_users("\n".join(f"{at}:{each}" for at, each in enumerate(lines)).encode()).decoy == lines[-1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ann", "expected `user:hash`"),
        (f":{BCRYPT}", "expected `user:hash`"),
        (f"a\x01b:{BCRYPT}", "expected `user:hash`"),
        ("ann:plain", "expected a bcrypt"),
        ("ann:$apr1$x$y", "expected a bcrypt"),
        ("ann:{SHA}x", "expected a bcrypt"),
        ("ann:", "expected a bcrypt"),
        (f"ann:{BCRYPT}x", "expected a bcrypt"),
        (f"ann:{BCRYPT.replace('$10$', '$15$')}", "a cost of 4 to 14"),
        (f"ann:{BCRYPT.replace('$10$', '$03$')}", "a cost of 4 to 14"),
        (f"ann:{ARGON2.replace('m=65536', 'm=999999')}", "KiB of memory"),
        (f"ann:{ARGON2.replace('m=65536', 'm=0')}", "KiB of memory"),
        (f"ann:{ARGON2.replace('t=3', 't=99')}", "passes"),
        (f"ann:{ARGON2.replace('p=4', 'p=64')}", "lanes"),
        (f"ann:{ARGON2.replace('v=19', 'v=16')}", "expected a bcrypt"),
        (f"bob:{BCRYPT}\nbob:{BCRYPT}", "line 3: the user is there twice"),
    ],
)
def test_a_wrong_line_is_named_by_its_number_and_not_shown(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^line \d: ") as error:
        parse_users(f"eve:{BCRYPT}\n{line}".encode())
    assert reason in str(error.value)
    assert "$2b$10$a" not in str(error.value)


def test_no_user_and_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="no user"):
        parse_users(b"# nobody\n")
    with pytest.raises(ValueError, match="more than 10000"):
        parse_users("\n".join(f"{number}:{BCRYPT}" for number in range(10_001)).encode())


def sent(text: bytes, scheme: bytes = b"Basic ") -> list[bytes]:
    return [scheme + base64.b64encode(text)]


def test_credentials_are_read_as_rfc_7617_writes_them() -> None:
    assert basic_credentials([b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]) == (b"Aladdin", b"open sesame")
    assert basic_credentials([b"basic dGVzdDoxMjPCow=="]) == (b"test", "123\u00a3".encode())
    assert basic_credentials(sent(b":", b"BASIC   ")) == (b"", b"")
    assert basic_credentials(sent(b"a:b:c")) == Credentials(b"a", b"b:c")


@pytest.mark.parametrize("values", [[], [b""], [b"Bearer x"], [b"Basicx"]])
def test_other_credentials_are_none(values: list[bytes]) -> None:
    assert basic_credentials(values) is None


@pytest.mark.parametrize(
    "values",
    [
        [b"Basic"],
        [b"Basic "],
        [b"Basic *"],
        [b"Basic QQ"],
        [b"Basic QQ=="],
        [b"Basic YTpi", b"Basic YTpi"],
        [b"Bearer x", b"Basic YTpi"],
        sent(b"a:\n"),
        sent(b"a\x7f:b"),
        sent(b"a:" + b"b" * 1024),
    ],
)
def test_malformed_credentials_are_refused(values: list[bytes]) -> None:
    with pytest.raises(Malformed):
        basic_credentials(values)


@settings(deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_what_a_client_encodes_is_what_is_read(user: bytes, password: bytes) -> None:
    clean = all(byte > 31 and byte != 127 for byte in user + password) and b":" not in user
    if clean:
        assert basic_credentials(sent(user + b":" + password)) == (user, password)


# --- API keys --------------------------------------------------------------------------------------------------------


def digest(key: bytes) -> str:
    return sha256(key).hexdigest()


def test_keys_are_found_by_their_hash() -> None:
    text = f"# keys\r\nci:{digest(b'one')}\r\n\ncron:sha256:{digest(b'two').upper()}\nci:{digest(b'three')}"
    keys = parse_api_keys(text.encode(), b"s")
    assert (len(keys), keys.problems) == (3, ())
    assert [keys.name_of(key) for key in (b"one", b"two", b"three", b"four", b"")] == ["ci", "cron", "ci", None, None]
    assert keys.name_of(digest(b"one").encode()) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ci", "expected `name:`"),
        ("ci:secret", "64 hex digits"),
        ("ci:" + "g" * 64, "64 hex digits"),
        ("c i:" + "a" * 64, "expected `name:`"),
        ("\u00e9:" + "a" * 64, "expected `name:`"),
        ("ci:" + digest(b"one"), "the key is there twice"),
    ],
)
def test_a_wrong_line_of_keys_is_named_and_not_shown(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2: ") as error:
        parse_api_keys(f"a:{digest(b'one')}\n{line}".encode(), b"s")
    assert reason in str(error.value)
    assert "secret" not in str(error.value)


def test_no_key_and_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="no key"):
        parse_api_keys(b"", b"s")
    with pytest.raises(ValueError, match="more than 10000"):
        parse_api_keys("\n".join(f"a:{number:064x}" for number in range(10_001)).encode(), b"s")


@pytest.mark.parametrize(
    ("target", "values", "rest"),
    [
        (b"/", [], b"/"),
        (b"/?", [], b"/?"),
        (b"/?key=a", [b"a"], b"/"),
        (b"/?b=%20&key=a&c", [b"a"], b"/?b=%20&c"),
        (b"/?k%65y=%61&key=b", [b"a", b"b"], b"/"),
        (b"/?key", [b""], b"/"),
        (b"/?Key=a&xkey=b&key2=c", [], b"/?Key=a&xkey=b&key2=c"),
        (b"/?b&&", [], b"/?b&&"),
    ],
)
def test_a_key_in_the_query_is_found_and_taken_out(target: bytes, values: list[bytes], rest: bytes) -> None:
    assert query_values(target, "key") == values
    assert without_query(target, "key") == rest


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"key=1", b"b=2", b"%6bey", b"", b"c=%3Fkey"]), max_size=5))
def test_once_taken_out_it_is_gone(parts: list[bytes]) -> None:
    rest = without_query(b"/p?" + b"&".join(parts), "key")
    assert query_values(rest, "key") == []
    assert without_query(rest, "key") == rest
