"""What is not configured costs neither memory nor import; what is configured and not installed says so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.config.model import Auth, AuthFilter, BasicAuth, JwtAuth
from sidecar.errors import ConfigError
from tests.support.filters import make

HEAVY = ("jwt", "cryptography", "bcrypt", "argon2", "sidecar.filters.auth")


def imported(filters: list[object], folder: Path) -> set[str]:
    """The heavy modules that a check of this configuration imports."""
    routes = [{"rules": [{"filters": filters, "backendRefs": [{"name": "app"}]}]}]
    data = {
        "listeners": [{"name": "in", "address": ":0", "routes": routes}],
        "clusters": [{"name": "app", "static": {"endpoints": ["127.0.0.1:1"]}}],
    }
    file = folder / "sidecar.yaml"
    file.write_text(json.dumps(data))
    code = (
        "import sys; from sidecar.config.load import load; from sidecar.lifecycle.assemble import check;"
        f"check(load({str(file)!r}), {str(folder)!r}); print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(found.stdout.split()) & set(HEAVY)


def test_without_the_filter_nothing_of_it_is_imported(tmp_path: Path) -> None:
    assert imported([], tmp_path) == set()


def test_api_keys_need_no_cryptography(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("ci:" + "a" * 64)
    assert imported([{"type": "Auth", "auth": {"apiKey": {"keysFile": "keys"}}}], tmp_path) == {"sidecar.filters.auth"}


@pytest.mark.parametrize("method", ["jwt", "basic"])
def test_a_package_that_is_missing_is_named(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith(("jwt", "sidecar.filters.auth"))]:
        monkeypatch.delitem(sys.modules, name)
    for missing in ("jwt", "bcrypt"):
        monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / "users").write_text("ann:$2b$04$" + "a" * 53)
    specs = {
        "jwt": Auth(jwt=JwtAuth(issuer="me", audiences=(), secret_file="s")),
        "basic": Auth(basic=BasicAuth(users_file="users")),
    }
    with pytest.raises(ConfigError, match=r"pip install 'sidecar\[auth\]'") as error:
        make(AuthFilter(auth=specs[method]), str(tmp_path))
    assert error.value.path == "$.f[0].auth"
