"""What stands behind the proxies and beside them: nginx as origin, the OTLP receiver, the API server, odd origins.

All of them share the load generator's core, so that only the system measured has its own.
"""

import http.client
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.load import once, request
from bench.machine import LOAD_CORE, Process, free_port, program

SIZES = {"200": 200, "10k": 10_240, "1m": 1 << 20, "100m": 100 << 20}
_NGINX = """
user root; daemon off; worker_processes 1; pid {folder}/origin.pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  default_type application/json;
  server {{
    listen {port} backlog=4096;
    allow 127.0.0.0/8; deny all;
    root {folder}/files;
    add_header Cache-Control "max-age=30"; add_header X-Served-By origin-1;
    location /r {{ try_files /200 =404; }}
  }}
}}
"""


@dataclass(frozen=True)
class Around:
    """Where everything is that a proxy needs."""

    folder: Path
    origin: int
    receiver: int
    echo: int
    slow: tuple[int, ...]
    kubeconfig: Path

    def spans(self) -> int:
        """What the receiver has counted so far."""
        connection = http.client.HTTPConnection("127.0.0.1", self.receiver, timeout=10)
        try:
            connection.request("GET", "/count")
            return int(connection.getresponse().read())
        finally:
            connection.close()


class Origins:
    """`with Origins(folder) as around:` runs them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Around:
        folder = self._folder
        slow = tuple(free_port() for _ in range(10))
        around = Around(folder, free_port(), free_port(), free_port(), slow, folder / "kubeconfig")
        self._nginx(around.origin)
        self._python("receiver", around.receiver)
        self._python("echo", "echo", around.echo)
        self._python("echo", "slow", *slow)
        api = self._python("apiserver", around.kubeconfig, "127.0.0.1", around.origin)
        api.until(around.kubeconfig.exists)
        return around

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        shutil.rmtree(self._folder / "files", ignore_errors=True)

    def _nginx(self, port: int) -> None:
        files = self._folder / "files"
        files.mkdir()
        for name, size in SIZES.items():
            (files / name).write_bytes((b"0123456789abcdef" * (size // 16 + 1))[:size])
        config = self._folder / "origin.conf"
        config.write_text(_NGINX.format(folder=self._folder, port=port))
        process = Process(
            [program("nginx"), "-c", str(config), "-e", "stderr"], log=self._folder / "origin.log", core=LOAD_CORE
        )
        self._stack.enter_context(process).until(lambda: once(("127.0.0.1", port), request("/200", close=True)))

    def _python(self, module: str, *words: object) -> Process:
        command = [sys.executable, "-m", f"bench.{module}", *map(str, words)]
        log = self._folder / f"{module}-{words[0] if module == 'echo' else 'run'}.log"
        return self._stack.enter_context(Process(command, log=log, core=LOAD_CORE))
