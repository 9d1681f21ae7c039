"""Certificates for tests, made by openssl: a key and a certificate that is its own authority."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """Paths of PEM files."""

    key: str
    certificate: str


def self_signed(folder: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> Certificate:
    """Valid for `names` (subjectAltName of openssl)."""
    made = Certificate(str(folder / "key.pem"), str(folder / "cert.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=test", "-addext", f"subjectAltName={names}"]
    subprocess.run([*command, "-keyout", made.key, "-out", made.certificate], check=True, capture_output=True)
    return made
