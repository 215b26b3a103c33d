"""A real nginx in front of a server: TLS with a certificate of an authority of its own, and basic authentication."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from executors.triton_server.ports import ReservedPort

USER, PASSWORD = "searcher", "correct horse battery"
_CONFIGURATION = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 100m;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.key;
    location / {{
      set $realm "search";
      if ($http_authorization = "ApiKey {key}") {{ set $realm off; }}
      auth_basic $realm;
      auth_basic_user_file {folder}/users;
      proxy_pass {upstream};
    }}
  }}
}}
"""
API_KEY = "a2V5Om9mLXRoZS10ZXN0cw=="


class Nginx:
    """See the module."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self._folder = folder
        self._port = ReservedPort()
        self._make_certificates()
        users = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True)
        (folder / "users").write_text(f"{USER}:{users.stdout}")
        user = "user root;" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            _CONFIGURATION.format(folder=folder, port=self._port.number, upstream=upstream, user=user, key=API_KEY)
        )
        self._port.release()
        self._process = subprocess.Popen(
            [find_nginx() or "nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._port.number}"

    @property
    def authority(self) -> Path:
        """The certificate that the server's is signed with."""
        return self._folder / "authority.pem"

    def stop(self) -> None:
        """End it. Safe to call twice."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)

    def _make_certificates(self) -> None:
        key = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
        self._openssl("req", "-x509", *key, "-keyout", "authority.key", "-out", "authority.pem", "-subj", "/CN=Tests")
        self._openssl("req", *key[:3], "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
        (self._folder / "names").write_text("subjectAltName=DNS:localhost\n")
        signing = ["-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", "2"]
        self._openssl("x509", "-req", "-in", "server.csr", *signing, "-extfile", "names", "-out", "server.pem")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, capture_output=True, check=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self._folder / "error.log").read_text()
            try:
                with socket.create_connection(("127.0.0.1", self._port.number), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("nginx does not answer")


def find_nginx() -> str | None:
    """Return the path of nginx; not every user has /usr/sbin on the path."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
