"""Keys and signatures: the examples of RFC 7515, 7517, 7519, 7797 and 8037, and keys that must not be used."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from sidecar.filters.auth.keys import KeySet, Verifier, parse_key_set, parse_secret
from sidecar.filters.auth.tokens import RefusedToken, read_header
from tests.support.issuer import claims, jwk, jwks, private_key, token

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
JOE = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
JOES = b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
SECRET = base64.urlsafe_b64decode(
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=="
)
A1 = f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
A2_KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS"
    "-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg"
    "665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWy"
    "uXpoQ",
    "e": "AQAB",
}
A2 = (
    f"eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8"
    "W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_e"
    "SN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmt"
    "VrBp0igcN_IoypGlUPQGe77Rw"
)
A3_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
A3 = (
    f"eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
A4_KEY = {
    "kty": "EC",
    "crv": "P-521",
    "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
    "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
}
A4 = (
    "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_"
    "7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
)
ED_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
ED = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
SET_7517 = [  # RFC 7517 A.1
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "use": "enc",
        "kid": "1",
    },
    {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi"
        "FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ"
        "Hzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU"
        "8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    },
]


def verified(compact: str, keys: Any, algorithms: tuple[str, ...] = ASYMMETRIC) -> bytes:
    raw = compact.encode()
    header = read_header(raw, algorithms)
    return Verifier(algorithms).payload(raw, header, keys.find(header))


def key_set(*keys: object) -> KeySet:
    return parse_key_set(jwks(*keys))


def why(keys: object) -> str:
    with pytest.raises(ValueError, match="it ") as error:
        parse_key_set(keys if isinstance(keys, bytes) else jwks(keys))
    return str(error.value)


# --- the examples of the RFCs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compact", "key", "payload"),
    [(A2, A2_KEY, JOES), (A3, A3_KEY, JOES), (A4, A4_KEY, b"Payload"), (ED, ED_KEY, b"Example of Ed25519 signing")],
    ids=["7515 A.2", "7515 A.3", "7515 A.4", "8037 A.4"],
)
def test_the_examples_hold_and_not_with_a_byte_changed(compact: str, key: dict[str, str], payload: bytes) -> None:
    assert verified(compact, key_set(key)) == payload
    head, body, signature = compact.split(".")
    flipped = "B" if signature[0] == "A" else "A"
    for changed in (f"{head}.{body}.{flipped}{signature[1:]}", f"{head}.eyJpc3MiOiJtZSJ9.{signature}"):
        with pytest.raises(RefusedToken, match="signature does not hold"):
            verified(changed, key_set(key))


def test_parts_that_no_bytes_encode_to_are_malformed() -> None:
    for compact in ("eyJhbGciOiJFUzI1NiJ9.AAAAA.AA", "eyJhbGciOiJFUzI1NiJ9.AAAA.A", "eyJhbGciOiJFUzI1NiJ9.AAAA.AB"):
        with pytest.raises(RefusedToken, match="no signed JWT"):
            verified(compact, key_set(A3_KEY))


def test_the_example_with_a_shared_secret_holds() -> None:
    secret = parse_secret(SECRET, ["HS256"])
    assert verified(A1, secret, ("HS256",)) == JOES
    with pytest.raises(RefusedToken, match="signature does not hold"):
        verified(A1, parse_secret(b"x" * 64, ["HS256"]), ("HS256",))


@pytest.mark.parametrize(
    "compact",
    [
        f"eyJhbGciOiJub25lIn0.{JOE}.",  # RFC 7515 A.5, RFC 7519 §6.1: unsecured
        f"eyJhbGciOiJub25lIn0.{JOE}.AA",
        f"eyJhbGciOiJub25lIn0.{JOE}",
        # RFC 7797 §4.2: payload not encoded
        "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19.JC4wMg.A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY",
        "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19..A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY",
        "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13g.48V1_ALb6US04U3b.5eym8TW_c8SuK0lt.XFBoMYUZodetZdvT",
        "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2IiwiY3R5IjoiSldUIn0.QR1Owv2ug2.AxY8DCtDaG.VwHERHPvCNcH.fiK51Vw",
    ],  # RFC 7516 A.1, RFC 7519 A.2: encrypted, nested
)
def test_examples_of_what_is_no_signed_token_here_are_refused(compact: str) -> None:
    for keys, algorithms in ((key_set(A2_KEY), ASYMMETRIC), (parse_secret(SECRET, ["HS256"]), ("HS256",))):
        with pytest.raises(RefusedToken):
            verified(compact, keys, algorithms)


def test_of_the_example_set_the_key_that_verifies_is_taken() -> None:
    keys = key_set(*SET_7517)
    assert (len(keys), keys.problems) == (1, ())


# --- every algorithm, with a key of its own --------------------------------------------------------------------------

KIND_OF = {name: ("RS256" if name[0] in "RP" else name) for name in ASYMMETRIC}


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_token_of_each_algorithm_holds_with_its_key_and_with_no_other(algorithm: str) -> None:
    kind = KIND_OF[algorithm]
    made = token(claims(sub="x"), kind=kind, algorithm=algorithm)
    others = [jwk(each) for each in ("RS256", "ES256", "ES384", "ES512", "EdDSA", "Ed448") if each != kind]
    assert json.loads(verified(made, key_set(jwk(kind))))["sub"] == "x"
    assert json.loads(verified(made, key_set(jwk(kind, alg=algorithm), *others)))["sub"] == "x"
    unnamed = token(kind=kind, algorithm=algorithm, headers={"kid": None})
    assert verified(unnamed, key_set(jwk(kind, "2"), jwk(kind), *others))
    for other in others:
        with pytest.raises(RefusedToken, match=r"not its key's|does not hold"):
            verified(made, key_set({**other, "kid": f"{kind}-1"}))


def test_a_key_that_names_its_algorithm_verifies_no_other_of_its_type() -> None:
    made = token(kind="RS256", algorithm="PS256")
    with pytest.raises(RefusedToken, match="not its key's"):
        verified(made, key_set(jwk("RS256", alg="RS256")))


def test_ed448_is_eddsa_too() -> None:
    assert verified(token(kind="Ed448"), key_set(jwk("Ed448")))


def test_a_public_key_is_no_secret() -> None:
    """RFC 8725 §2.1: HS256 keyed with the text of a public key must not pass as RS256, nor be configured."""
    public = private_key("RS256").public_key()
    pem = public.public_bytes(*_pem())
    with pytest.raises(ValueError, match="no secret"):
        parse_secret(pem, ["HS256"])
    with pytest.raises(ValueError, match="no secret"):
        parse_secret(json.dumps(jwk("RS256")).encode(), ["HS256"])
    forged = jwt.encode(claims(), b"x" * 32, "HS256", headers={"kid": "RS256-1"})
    with pytest.raises(RefusedToken, match="not allowed"):
        verified(forged, key_set(jwk("RS256")))


def _pem() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - used once

    return Encoding.PEM, PublicFormat.SubjectPublicKeyInfo


@pytest.mark.parametrize(("algorithm", "size"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_is_as_long_as_its_hash(algorithm: str, size: int) -> None:
    secret = parse_secret(b"x" * size + b"\r\n", [algorithm])
    assert (len(secret), secret.problems) == (1, ())
    assert verified(jwt.encode(claims(), b"x" * size, algorithm, headers={"kid": "any"}), secret, (algorithm,))
    with pytest.raises(ValueError, match=f"it has {size - 1} bytes, expected {size}"):
        parse_secret(b"x" * (size - 1), ["HS256", algorithm])


# --- sets of keys that are wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (None, "no object"),
        ([], "no object"),
        ({}, "its type None"),
        ({"kty": ["RSA"]}, "its type"),
        ({"kty": "oct", "k": "AAAA"}, "its type 'oct'"),
        ({**A2_KEY, "kid": 1}, "its `kid` is no string"),
        ({**A2_KEY, "d": "AQAB"}, "private"),
        ({**A2_KEY, "n": "!!"}, "malformed"),
        ({**A2_KEY, "n": 7}, "malformed"),
        ({"kty": "RSA", "n": A2_KEY["n"]}, "malformed"),
        ({**A2_KEY, "e": "AA"}, "malformed"),
        ({**A2_KEY, "alg": "RSA-OAEP"}, "does not go with its type"),
        ({**A2_KEY, "alg": "ES256"}, "does not go with its type"),
        ({**A2_KEY, "alg": "none"}, "does not go with its type"),
        ({**A2_KEY, "alg": 1}, "does not go with its type"),
        ({**A3_KEY, "crv": "P-384"}, "malformed"),
        ({**A3_KEY, "crv": "secp256k1"}, "curve 'secp256k1' is not supported"),
        ({**A3_KEY, "crv": {}}, "is not supported"),
        ({**A3_KEY, "x": A3_KEY["y"]}, "malformed"),  # no point of the curve
        ({**A3_KEY, "alg": "ES384"}, "does not go with its type"),
        ({**ED_KEY, "crv": "X25519"}, "is not supported"),
        ({**ED_KEY, "x": "AAAA"}, "malformed"),
    ],
)
def test_a_key_that_is_wrong_is_left_out_and_named(key: object, problem: str) -> None:
    assert problem in why(key)
    keys = key_set(key, jwk("ES256"))
    assert len(keys) == 1
    (found,) = keys.problems
    assert found.startswith("key 0: ")


def test_weak_and_huge_rsa_keys_are_left_out() -> None:
    weak = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
    assert "1024 bits" in why(weak)
    huge = {**A2_KEY, "n": base64.urlsafe_b64encode(b"\xff" * 1100).decode().rstrip("=")}
    assert "8800 bits" in why(huge)


@pytest.mark.parametrize("members", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": "verify"}])
def test_keys_of_another_use_are_none_of_our_business(members: dict[str, object]) -> None:
    assert key_set({**A2_KEY, **members}, jwk("ES256")).problems == ()


def test_the_first_of_two_keys_with_one_name_counts() -> None:
    keys = key_set(jwk("ES256"), jwk("ES256", "2", kid="ES256-1"), jwk("RS256", kid=None), jwk("ES384", kid=None))
    assert verified(token(), keys)
    assert len(keys) == 3
    assert "is taken by a key before it" in keys.problems[0]


def test_a_token_that_names_no_key_tries_a_few_and_not_a_hundred() -> None:
    few = [jwk("ES256", str(number)) for number in range(1, 5)]
    assert verified(token(headers={"kid": None}), key_set(*few))
    with pytest.raises(RefusedToken, match="does not name its key"):
        verified(token(headers={"kid": None}), key_set(*few, jwk("ES256", "5")))
    with pytest.raises(RefusedToken, match="signature"):
        verified(token(kind="EdDSA", headers={"kid": None}), key_set(*few))


def test_a_set_is_cut_at_a_hundred_keys() -> None:
    keys = key_set(*[jwk("ES256", kid=f"{number}") for number in range(101)])
    assert (len(keys), keys.problems) == (100, ("more than 100 keys",))


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, b"[]", b'{"keys": {}}', b'{"keys": []}', b"null"])
def test_what_is_no_set_of_keys_says_so(data: bytes) -> None:
    assert why(data).startswith("it ")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_members = st.sampled_from(["kty", "n", "e", "crv", "x", "y", "d", "alg", "kid", "use", "key_ops"])


@settings(deadline=None)
@given(st.dictionaries(_members, _json | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB", "sig"])))
def test_whatever_a_key_says_a_set_stays_one(key: dict[str, object]) -> None:
    assert len(key_set(jwk("ES256"), key)) in {1, 2}
