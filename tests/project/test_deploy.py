"""Promise: what lies in deploy/ is well-formed and names only things that exist. No container is built here."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from hearthwatch.schemas.settings import variables

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = {variable.name for variable in variables()}


def instructions():
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def test_the_container_file_copies_what_is_there_and_every_room():
    copied = [word for name, rest in instructions() if name == "COPY" for word in rest.split()[:-1]]
    assert not [name for name in copied if not (ROOT / name).exists()]
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"}
    assert rooms <= set(copied)


def test_the_container_file_knows_its_instructions_and_our_settings():
    known = {
        "FROM",
        "ARG",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "ENV",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    }
    assert {name for name, _ in instructions()} <= known
    (env,) = [rest for name, rest in instructions() if name == "ENV"]
    assert {word.partition("=")[0] for word in env.split()} <= SETTINGS


def test_the_compose_file_is_yaml_and_its_services_fit_together():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    ours = services["hearthwatch"]
    assert (DEPLOY / ours["build"]["context"] / ours["build"]["dockerfile"]).exists()
    assert set(ours["environment"]) <= SETTINGS
    assert set(ours["depends_on"]) <= set(services)
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
    named = {v.partition(":")[0] for s in services.values() for v in s.get("volumes", []) if v[0].isalpha()}
    assert named == set(compose["volumes"])


def test_the_unit_is_well_formed_and_starts_a_command_that_exists():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((DEPLOY / "hearthwatch.service").read_text())
    assert unit["Service"]["ExecStart"].endswith("/hearthwatch run")
    assert (ROOT / "cli/run.py").exists()
    assert unit["Service"]["Environment"].partition("=")[0] in SETTINGS


def test_the_unit_stands_in_one_file():
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    assert not [page for page in pages if "[Service]" in page.read_text()]
    assert "(../deploy/hearthwatch.service)" in (ROOT / "docs/deploy.md").read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    text = (DEPLOY / "hearthwatch.service").read_text().replace("/opt/hearthwatch/.venv/bin/hearthwatch", "/bin/true")
    (tmp_path / "hearthwatch.service").write_text(text.replace("User=hearthwatch\n", ""))
    ran = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "hearthwatch.service"], capture_output=True, text=True
    )
    assert "hearthwatch.service" not in ran.stderr, ran.stderr
