"""Real web servers of Debian (nginx, Caddy) in front of ours, with the recipes of `deploy/`."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.ports import SECONDS_MAX, free_port, wait_until_open

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CERTIFICATES = Path(__file__).parent / "certificates"


class Proxy:
    """nginx or Caddy with its recipe; `url` is where the page is. `more`: nginx's configuration of further servers."""

    def __init__(self, program: str, folder: Path, upstream: int, more: str = ""):
        self.program = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
        if self.program is None:
            missing = f"no {program}: apt install {program}"
            (pytest.fail if os.environ.get("HEARTHWATCH_TEST_REQUIRE") == "all" else pytest.skip)(missing)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.url = f"https://localhost:{self.port}/hearthwatch/"
        make = self._nginx if program == "nginx" else self._caddy
        self.command = make(upstream, more)

    def _nginx(self, upstream: int, more: str) -> list[str]:
        recipe = (DEPLOY / "nginx.conf").read_text()
        for given, here in (
            ("listen 443", f"listen 127.0.0.1:{self.port}"),
            ("cameras.home.example", "localhost"),
            ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
            ("/etc/ssl/certs/cameras.pem", f"{CERTIFICATES}/server.pem"),
            ("/etc/ssl/private/cameras.key", f"{CERTIFICATES}/server.key"),
        ):
            assert given in recipe
            recipe = recipe.replace(given, here)
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        config = self.folder / "nginx.conf"
        config.write_text(
            f"{user}daemon off; pid {self.folder}/pid; error_log {self.folder}/log;\nevents {{}}\n"
            f"http {{ access_log off;\n{temporary}{recipe}\n{more}\n}}\n"
        )
        return [self.program, "-p", str(self.folder), "-c", str(config)]

    def _caddy(self, upstream: int, more: str) -> list[str]:
        recipe = (DEPLOY / "Caddyfile").read_text()
        assert "cameras.home.example" in recipe and "127.0.0.1:8000" in recipe
        recipe = recipe.replace("cameras.home.example {", f"https://localhost:{self.port} {{\n\ttls {CERTIFICATES}/server.pem {CERTIFICATES}/server.key")  # fmt: skip
        recipe = recipe.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
        options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
        (self.folder / "Caddyfile").write_text(re.sub(r"^(#.*\n)*", options, recipe, count=1))
        return [self.program, "run", "--adapter", "caddyfile", "--config", str(self.folder / "Caddyfile")]

    def __enter__(self):
        environment = os.environ | {"XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(self.command, env=environment, stdout=output, stderr=output)
        wait_until_open(self.port, self.process, (self.folder / "output").read_text)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(SECONDS_MAX)
