"""Promise: `hearthwatch llm` leaves a proven server or a clear word; `replay` judges again what is there, once."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hearthwatch.cli.llm import PROFILES, card_flags, flags, llm
from hearthwatch.cli.replay import replay
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import reload
from hearthwatch.sources.gpu_stats import Reading
from tests.support.commands import read_until
from tests.support.events import Cameras
from tests.support.llm_server import Standin
from tests.support.ports import free_url

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
T = 1_790_000_000
HEARTHWATCH = [sys.executable, "-c", "from hearthwatch.cli import main; main()"]

VLLM = """\
#!{python}
# Stands for the `vllm` command: writes down how it was called, then serves as the stand-in does.
import json, os, signal, subprocess, sys, threading
sys.path.insert(0, {tests!r})
from tests.support.llm_server import Standin
with open({calls!r}, "w") as file:
    json.dump(sys.argv[1:], file)
if "broken" in sys.argv:
    sys.exit("CUDA is not amused")
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with open({calls!r} + ".worker", "w") as file:
    file.write(str(worker.pid))
with open({calls!r} + ".server", "w") as file:
    file.write(str(os.getpid()))
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
option = lambda name: sys.argv[sys.argv.index(name) + 1]
with Standin(otherwise={word!r}, model=option("--served-model-name"), port=int(option("--port"))):
    ended.wait(60)
"""


@pytest.fixture
def vllm(tmp_path):
    """Makes a `vllm` command that answers `word`."""

    def make(word="ok"):
        calls = tmp_path / "calls"
        script = tmp_path / "vllm"
        script.write_text(VLLM.format(python=sys.executable, tests=str(ROOT / "tests"), calls=str(calls), word=word))
        script.chmod(0o755)
        return script, calls

    return make


@pytest.fixture
def hearthwatch(tmp_path):
    """Starts the command; none outlives its test."""
    started = []

    def start(*arguments, **environment):
        everything = {**os.environ, "PYTHONPATH": str(ROOT), "HEARTHWATCH_DATA_DIR": str(tmp_path), **environment}
        started.append(
            subprocess.Popen(
                [*HEARTHWATCH, *arguments], cwd=tmp_path, env=everything, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=30)


def runs(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_server_is_started_as_the_product_needs_it_proven_and_ended_with_all_its_workers(vllm, hearthwatch):
    script, calls = vllm()
    url = free_url()
    p = hearthwatch(
        "llm", "--model", "some/model", "--", "--enforce-eager", NEMOTRON_URL=url, HEARTHWATCH_VLLM=str(script)
    )
    assert "it answers, keeps to schemas, and reads no pictures" in read_until(p, "ready at")
    arguments = json.loads(calls.read_text())
    assert arguments[:4] == ["serve", "some/model", "--served-model-name", "nemotron"]
    assert json.loads(arguments[arguments.index("--structured-outputs-config") + 1])["backend"] == "guidance"
    assert (
        arguments[-1] == "--enforce-eager" and "nemotron_v3" not in arguments
    )  # another family leaves `content` empty with it
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 0
    assert not runs(int((calls.parent / "calls.worker").read_text()))


def test_a_server_does_not_outlive_a_kill(vllm, hearthwatch):
    script, calls = vllm()
    p = hearthwatch("llm", NEMOTRON_URL=free_url(), HEARTHWATCH_VLLM=str(script))
    read_until(p, "ready at")
    server, worker = (int((calls.parent / name).read_text()) for name in ("calls.server", "calls.worker"))
    p.kill()
    p.wait()
    assert select.select([os.pidfd_open(server)], [], [], 20)[0]
    os.kill(worker, signal.SIGKILL)


THINKS, HYBRID, PICTURES = "--reasoning-parser nemotron_v3", "--mamba-cache-mode align", '{"image":6,"video":0}'


@pytest.mark.parametrize(
    ("model", "has"),
    [
        ("nano-4b", {THINKS, HYBRID}), ("nano-30b", {THINKS, HYBRID}), ("omni", {THINKS, HYBRID, PICTURES}), ("nano-12b-vl", {HYBRID, PICTURES}),
        ("qwen3-vl", {PICTURES}), ("nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4", {THINKS, HYBRID}), ("meta/Llama-3", set()),
    ],
)  # fmt: skip
def test_each_model_gets_the_options_of_its_family(model, has):
    given = " ".join(flags(PROFILES.get(model, model)))
    assert {option for option in (THINKS, HYBRID, PICTURES) if option in given} == has
    assert ("--trust-remote-code" in given) == (model == "nano-12b-vl") and "--enable-prompt-tokens-details" in given


@pytest.mark.parametrize(
    ("used", "total", "environment", "share"),
    [
        (0, 24, {}, "0.83"), (0, 24, {"HEARTHWATCH_DETECT_BATCH_MAX": "8"}, "0.89"), (0, 141, {}, "0.9"), (12, 24, {}, "0.5"),
        (0, 24, {"HEARTHWATCH_DEVICE": "cpu"}, None), (0, 24, {"HEARTHWATCH_DEVICE": "cuda:1"}, None), (0, 24, {"RTDETR_URL": "http://a:1"}, None),
    ],
)  # fmt: skip
def test_a_card_is_shared_with_the_detector(own_settings, used, total, environment, share):
    own_settings(**environment)
    given = card_flags(Reading(0, used << 30, total << 30, 40))
    assert given == (["--gpu-memory-utilization", share] if share else []) and card_flags(None) == []


def test_without_a_url_it_says_which_one_to_set(vllm, hearthwatch):
    script, _ = vllm()
    with socket.socket() as ours:
        try:
            ours.bind(("127.0.0.1", 8002))
        except OSError:
            pytest.skip("somebody uses port 8002 here")
    p = hearthwatch("llm", HEARTHWATCH_VLLM=str(script), NEMOTRON_URL="")
    assert "set NEMOTRON_URL=http://127.0.0.1:8002" in read_until(p, "NEMOTRON_URL is not set")


@pytest.mark.parametrize(
    ("word", "says"), [("prose", "ignores `response_format`"), (503, "does not answer a question")]
)
def test_a_server_that_cannot_be_trusted_is_not_left_running(vllm, hearthwatch, word, says):
    script, _ = vllm(word)
    p = hearthwatch("llm", NEMOTRON_URL=free_url(), HEARTHWATCH_VLLM=str(script))
    out, _ = p.communicate(timeout=30)
    assert p.returncode == 1 and says in out and "Traceback" not in out


def test_a_server_that_ends_at_once_is_told_with_its_words(vllm, hearthwatch):
    script, _ = vllm()
    p = hearthwatch("llm", "--model", "broken", NEMOTRON_URL=free_url(), HEARTHWATCH_VLLM=str(script))
    out, _ = p.communicate(timeout=30)
    assert p.returncode == 1 and "CUDA is not amused" in out and "ended with exit code 1" in out


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"HEARTHWATCH_VLLM": "/nowhere/vllm"}, "HEARTHWATCH_VLLM = /nowhere/vllm: there is no such program"),
        ({"HEARTHWATCH_VLLM": "", "PATH": "/nowhere"}, "there is no `vllm` here"),
        ({"NEMOTRON_URL": "http://192.0.2.1:8002"}, "is it another machine?"),
        ({"NEMOTRON_URL": "http://nowhere.invalid:8002"}, "nowhere.invalid"),
        ({"NEMOTRON_URL": "https://127.0.0.1:8002"}, "behind your own TLS"),
    ],
    ids=str,
)
def test_mistakes_are_told_in_a_sentence(vllm, own_settings, environment, says):
    own_settings(**{"HEARTHWATCH_VLLM": str(vllm()[0]), "NEMOTRON_URL": free_url(), **environment})
    with pytest.raises(UserError, match=re.escape(says)):
        llm()


@pytest.fixture
def own_settings(tmp_path, monkeypatch):
    """Settings of this test alone."""

    def make(**environment):
        for name, value in {"HEARTHWATCH_DATA_DIR": str(tmp_path), **environment}.items():
            monkeypatch.setenv(name, value)
        reload()

    monkeypatch.chdir(tmp_path)
    yield make
    monkeypatch.undo()
    reload()


# -- replay


@pytest.fixture
def cameras(tmp_path):
    cameras = Cameras(tmp_path / "hearthwatch.db")
    yield cameras.see(*(T + 100 * n for n in range(12))).close()
    cameras.record.close()


def said(process):
    out, _ = process.communicate(timeout=30)
    return process.returncode, out


def test_replay_judges_stored_events_again(cameras, hearthwatch):
    with Standin(["garbage"], seconds=(0.0, 0.02)) as server:
        code, out = said(
            hearthwatch("replay", "--since", "2026-09-21T14:16:00", NEMOTRON_URL=server.url, HEARTHWATCH_TIMEZONE="UTC")
        )
    assert code == 0 and "10 events judged by nemotron with prompt v3" in out, out
    states = [row[1] for row in cameras.events()]
    assert states == ["pending"] * 2 + ["done"] * 10
    assert len([row for row in cameras.feed() if row[2] == "event.analyzed"]) == 10


def test_shadow_verdicts_change_nothing_and_go_on_where_they_were_interrupted(cameras, hearthwatch):
    before = cameras.events(), cameras.feed()
    with Standin() as server:
        for already in (0, 12):
            code, out = said(hearthwatch("replay", "--shadow", NEMOTRON_URL=server.url))
            assert code == 0 and f"{12 - already} events judged" in out, out
    assert "12 had such a shadow already" in out and len(server.questions) == 12
    assert (cameras.events(), cameras.feed()) == before
    assert cameras.record.one("SELECT count(*) FROM event_history WHERE shadow AND risk_score = 20") == (12,)


def test_what_no_answer_fits_is_told_and_stands_as_it_was(cameras, hearthwatch):
    with Standin(otherwise="prose") as server:
        code, out = said(hearthwatch("replay", NEMOTRON_URL=server.url, HEARTHWATCH_NEMOTRON_ATTEMPTS="2"))
    assert code == 1 and "12 without a verdict" in out
    assert {row[1:3] for row in cameras.events()} == {("pending", "rules")}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"prompt": "v11"}, "--prompt v11: there is no such prompt; there are v1, v2"),
        ({"since": "yesterday"}, "--since yesterday: write 2026-11-22"),
        ({"prompt": "v1"}, "NEMOTRON_URL is not set"),
    ],
    ids=str,
)
def test_mistakes_of_a_replay_are_told_in_a_sentence(own_settings, arguments, says):
    own_settings(NEMOTRON_URL="http://127.0.0.1:9" if arguments != {"prompt": "v1"} else "")
    with pytest.raises(UserError, match=re.escape(says)):
        replay(**{"prompt": "v1", "since": None, "shadow": False, **arguments})
