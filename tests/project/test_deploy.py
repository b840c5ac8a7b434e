"""Promise: what lies in deploy/ is well-formed and names only things that exist. The unit's command runs as systemd would run
it; scripts/unit-test runs the unit itself, scripts/image-test builds and runs the image."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from hearthwatch.schemas.settings import variables
from tests.support.api_record import wait_for
from tests.support.ports import free_port

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
        "HEALTHCHECK",
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
    for name in ("hearthwatch", "redis", "detector"):
        assert services[name]["read_only"] and services[name]["cap_drop"] == ["ALL"], name
    assert ours["mem_limit"] and {"/data", "/home/hearthwatch/.cache"} <= {v.split(":")[1] for v in ours["volumes"]}
    named = {v.partition(":")[0] for s in services.values() for v in s.get("volumes", []) if v[0].isalpha()}
    assert named == set(compose["volumes"])


def unit():
    """Sections of the unit: (name, value) pairs, since a name may come twice."""
    sections, pairs = {}, []
    for line in (DEPLOY / "hearthwatch.service").read_text().splitlines():
        if line.startswith("["):
            pairs = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            pairs.append((name, value))
    return sections


def service(name):
    return [value for key, value in unit()["Service"] if key == name]


def unit_environment():
    return dict(word.split("=", 1) for line in service("Environment") for word in line.split())


def test_the_unit_is_well_formed_and_starts_a_command_that_exists():
    assert list(unit()) == ["Unit", "Service", "Install"]
    assert service("ExecStart") == ["/opt/hearthwatch/.venv/bin/hearthwatch run"] and (ROOT / "cli/run.py").exists()
    given = unit_environment()
    assert {name for name in given if name.startswith("HEARTHWATCH")} <= SETTINGS
    writable = {"/var/lib/hearthwatch": service("StateDirectory"), "/var/cache/hearthwatch": service("CacheDirectory")}
    assert set(map(tuple, writable.values())) == {("hearthwatch",)}
    assert all(path.startswith(tuple(writable)) for path in given.values())
    waits = dict(unit()["Unit"])
    assert {"network-online.target", "time-sync.target"} <= set(waits["After"].split()) & set(waits["Wants"].split())
    assert service("RestartPreventExitStatus") == ["2"] and service("Restart") == ["always"]
    assert service("Type") == ["notify"] and service("WatchdogSec") == ["3min"] and service("UMask") == ["0027"]


AS_SYSTEMD = """set -e
mount --make-rprivate /
mount --bind "$TMPDIR" "$TMPDIR"
mount -t tmpfs none /var/lib; mount -t tmpfs none /var/cache
mount -o remount,bind,ro /
for folder in /var/lib /var/cache; do
  mkdir $folder/hearthwatch
  mount --bind $folder/hearthwatch $folder/hearthwatch
  mount -o remount,bind,ro $folder
done
cd /var/lib/hearthwatch
if touch "$CHECKOUT/flow.py" 2>/dev/null; then exit 9; fi
exec "$@"
"""  # what the unit's ProtectSystem, PrivateTmp, StateDirectory and CacheDirectory make of the file system


@pytest.fixture
def start(tmp_path):
    """Start the unit's command, or another one, with the unit's environment and nothing else to write to."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs mount namespaces")
    temporary, uploads = tmp_path / "tmp", tmp_path / "uploads"
    temporary.mkdir()
    (uploads / "front_door").mkdir(parents=True)

    def start(*command, **environ):
        given = {
            "PATH": os.environ["PATH"],
            "FOSCAM_BASE_PATH": str(uploads),
            "HEARTHWATCH_DETECTOR_MODEL": "yard",
        } | unit_environment()
        inner = {"TMPDIR": str(temporary), "CHECKOUT": str(ROOT)}
        (wanted,) = service("ExecStart")
        line = command or wanted.replace("/opt/hearthwatch/.venv/bin/", f"{Path(sys.executable).parent}/").split()
        return subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", AS_SYSTEMD, "bash", *line], env=given | inner | environ, cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    start.uploads = uploads
    return start


@pytest.mark.slow
def test_the_unit_starts_and_detects_with_only_its_own_folders_writable(start):
    port = free_port()
    (start.uploads / "front_door" / "2026-11-22_08-00-00.jpg").write_bytes(
        (ROOT / "gpu/models/yard/probe1.jpg").read_bytes()
    )
    running = start(HEARTHWATCH_API_PORT=str(port))

    def is_settled():
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/system/stats", trust_env=False)
            return answer.is_success and answer.json()["ledger"]["settled"] == 1  # 503 until the record is made
        except httpx.TransportError:
            assert running.poll() is None, "it ended"
            return False

    try:
        wait_for(is_settled, 60)
    finally:
        running.terminate()
        said, _ = running.communicate(timeout=20)
    assert running.returncode == 0 and "Read-only" not in said and "Permission" not in said, said


def test_a_mistake_in_the_settings_ends_the_unit_for_good(start):
    ran = start(HEARTHWATCH_API_HOST="0.0.0.0", HEARTHWATCH_API_TOKEN="short")
    said, _ = ran.communicate(timeout=60)
    assert str(ran.returncode) in service("RestartPreventExitStatus") and "at least 16" in said, said


def test_the_caches_of_libraries_are_in_the_units_cache_folder(start):
    code = """
import os, pathlib, torch._inductor.runtime.cache_dir_utils as torch_cache
from huggingface_hub.constants import HF_HUB_CACHE
print(HF_HUB_CACHE, pathlib.Path.home(), os.environ["XDG_CACHE_HOME"])
for folder in (HF_HUB_CACHE, torch_cache.cache_dir()):
    os.makedirs(folder, exist_ok=True)
"""
    ran = start(sys.executable, "-c", code)
    said, _ = ran.communicate(timeout=60)
    assert ran.returncode == 0 and all(path.startswith("/var/cache/hearthwatch") for path in said.split()), said


def test_the_unit_stands_in_one_file():
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    assert not [page for page in pages if "[Service]\n" in page.read_text()]
    assert "(../deploy/hearthwatch.service)" in (ROOT / "docs/deploy.md").read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    text = (DEPLOY / "hearthwatch.service").read_text().replace("/opt/hearthwatch/.venv/bin/hearthwatch", "/bin/true")
    (tmp_path / "hearthwatch.service").write_text(text.replace("User=hearthwatch\n", ""))
    ran = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "hearthwatch.service"], capture_output=True, text=True
    )
    assert "hearthwatch.service" not in ran.stderr, ran.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_the_unit_is_open_to_little():
    wanted = ["systemd-analyze", "security", "--offline=yes", "--threshold=30", DEPLOY / "hearthwatch.service"]
    ran = subprocess.run(wanted, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-200:] + ran.stderr
