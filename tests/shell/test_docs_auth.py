"""The example of the Auth filter does what its comments say."""

from hashlib import sha256
from pathlib import Path

import bcrypt
import yaml

from sidecar.config.load import load
from sidecar.lifecycle.assemble import check
from tests.support.client import ask
from tests.support.issuer import answer, claims, get, jwk, jwks, scripted, token
from tests.support.origin import Origin
from tests.support.proxy import Data, running_proxy

EXAMPLE = Path(__file__).parents[2] / "docs/examples/auth/sidecar.yaml"


def prepared(folder: Path) -> Data:
    """The example with the files it names, which are secrets and therefore not beside it."""
    (folder / "jwks.json").write_bytes(jwks(jwk("ES256")))
    (folder / "keys").write_text(f"billing:{sha256(b'k-1').hexdigest()}\n")
    (folder / "users").write_text(f"ann:{bcrypt.hashpw(b'open', bcrypt.gensalt(4)).decode()}\n")
    data: Data = yaml.safe_load(EXAMPLE.read_text())
    return data


def test_the_example_is_right(tmp_path: Path) -> None:
    prepared(tmp_path)
    check(load(EXAMPLE), str(tmp_path))


async def test_each_part_lets_pass_whom_it_names(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    async with Origin() as app, scripted(answer(b"", "200 OK", "X-Auth-Request-User: eve")) as service:
        data["listeners"][0]["address"] = "127.0.0.1:0"
        data["listeners"][0]["routes"][0]["rules"][3]["filters"][0]["auth"]["forward"]["url"] = service.url
        data["clusters"][0]["static"]["endpoints"] = [app.address]
        async with running_proxy({**data, "admin": {"address": None}}, folder=tmp_path) as proxy:

            async def status(sent: bytes) -> int:
                return (await ask(proxy.address, sent)).status

            good = token(claims(iss="https://id.example", scope="orders.read"))
            assert await status(get(path="/api")) == 401
            assert await status(get(f"Bearer {token(claims(iss='https://id.example'))}", path="/api")) == 403
            assert await status(get(f"Bearer {good}", path="/api")) == 200
            assert app.requests[-1].values(b"x-user") == [b"ann"]
            assert app.requests[-1].values(b"authorization") == []
            assert await status(get(path="/hooks")) == 401
            assert await status(get(None, "X-API-Key: k-1", path="/hooks")) == 200
            assert app.requests[-1].values(b"x-caller") == [b"billing"]
            assert await status(get(path="/admin")) == 401
            assert await status(get("Basic YW5uOm9wZW4=", path="/admin")) == 200
            assert await status(get("Basic YW5uOm9wZW4=", "X-Forwarded-For: 203.0.113.9", path="/admin")) == 403
            assert await status(get(path="/")) == 200
            assert app.requests[-1].values(b"x-auth-request-user") == [b"eve"]
            service.reply = answer(b"", "302 Found", "Location: /login")
            assert await status(get(path="/")) == 302
