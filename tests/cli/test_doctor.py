"""Promise: what keeps Hearthwatch from working here is told before it matters, with what to do about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hearthwatch.cli.machine_checks as checks
from hearthwatch.cli.doctor import find
from hearthwatch.cli.machine_checks import Finding
from hearthwatch.record import Record, acquire_lock, now
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas.settings import Settings, load
from hearthwatch.sinks.apprise import Apprise
from hearthwatch.sinks.mqtt import Mqtt
from hearthwatch.sinks.ntfy import Ntfy
from hearthwatch.sinks.redis import Redis
from hearthwatch.sinks.webhook import Webhook
from hearthwatch.stages.analyze import Nemotron
from hearthwatch.stages.detect import RtDetr
from tests.support.http_receiver import HttpEar
from tests.support.llm_server import Standin
from tests.support.mqtt_broker import Broker, Ear
from tests.support.ntfy_server import NtfyServer
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

GONE = "http://127.0.0.1:9"  # nobody listens there


def settings(tmp_path: Path, **more: object) -> Settings:
    home = {"FOSCAM_BASE_PATH": tmp_path / "uploads", "HEARTHWATCH_DATA_DIR": tmp_path / "data"}
    return load(None, {name: str(value) for name, value in (home | more).items()})


def found(check: Callable[..., Iterator[Finding]], *args: Any) -> tuple[str, str]:
    """The worst thing that this check found, and all its words."""
    all = list(check(*args))
    worst = max((finding.health for finding in all), key=("ok", "note", "wrong").index)
    return worst, "\n".join(finding.words for finding in all)


def test_uploads(tmp_path: Path) -> None:
    s = settings(tmp_path)
    health, words = found(checks.check_uploads, s)
    assert health == "wrong" and "set FOSCAM_BASE_PATH" in words
    s.foscam_base_path.mkdir()
    assert found(checks.check_uploads, s)[0] == "note"
    (s.foscam_base_path / "Front Door").mkdir()
    health, words = found(checks.check_uploads, s)
    assert health == "ok" and "1 camera: Front Door" in words
    (s.foscam_base_path / "front-door").mkdir()
    health, words = found(checks.check_uploads, s)
    assert health == "wrong" and "front_door" in words


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written(tmp_path: Path) -> None:
    s = settings(tmp_path)
    (s.foscam_base_path / "cam").mkdir(parents=True, mode=0o000)
    assert "cam cannot be read" in found(checks.check_uploads, s)[1]
    s.hearthwatch_data_dir.mkdir(mode=0o555)
    assert "cannot be written" in found(checks.check_data, s)[1]


def test_inotify_limits(tmp_path: Path) -> None:
    s = settings(tmp_path)
    for n in range(30):
        (s.foscam_base_path / f"cam/{n}").mkdir(parents=True)

    def limits(watches: int, instances: int) -> tuple[str, str]:
        (tmp_path / "max_user_watches").write_text(f"{watches}\n")
        (tmp_path / "max_user_instances").write_text(f"{instances}\n")
        return found(checks.check_inotify, s, tmp_path)

    assert limits(8192, 128) == ("ok", "32 folders, 8192 watches allowed")
    assert "`sysctl fs.inotify.max_user_watches=1024`" in limits(100, 128)[1]
    assert "max_user_instances is 1" in limits(8192, 1)[1]
    assert found(checks.check_inotify, s, tmp_path / "nowhere")[0] == "note"


def test_file_systems(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda / ext4 rw 0 0\nnas:/x /mnt/na\\040s nfs4 rw 0 0\n")
    assert checks.filesystem(Path("/mnt/na s/cam"), mounts) == "nfs4"
    assert checks.filesystem(Path("/mnt/other"), mounts) == "ext4"
    assert checks.filesystem(Path("/"), tmp_path / "nowhere") == ""


def test_a_full_disk_and_a_data_dir_on_a_network_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = settings(tmp_path)
    assert found(checks.check_data, s)[0] in ("ok", "note")
    assert not s.hearthwatch_data_dir.exists(), "looking makes nothing"
    monkeypatch.setattr(checks, "FREE_BYTES_MIN", 1 << 60)
    assert "make room" in found(checks.check_data, s)[1]
    monkeypatch.setattr(checks, "filesystem", lambda path: "cifs")
    assert "network mount (cifs)" in found(checks.check_data, s)[1]


def test_the_record(tmp_path: Path) -> None:
    s = settings(tmp_path)
    assert "will be made" in found(checks.check_record, s)[1] and not s.database_path.exists()
    record = Record(s.database_path)
    assert "not running" in found(checks.check_record, s)[1]
    lock = acquire_lock("see", s.database_path, s.hearthwatch_data_dir)
    assert "\nrunning" in found(checks.check_record, s)[1]
    lock.release()
    future = now() + 3600 * 10**6
    Ledger(record).discover([FoundFile("cam", "cam", "cam/1.jpg", 1, 1, future, future)], future)
    assert "clock was set back" in found(checks.check_record, s)[1]
    record.close()
    s.database_path.write_bytes(b"something else entirely" * 100)
    assert "is not a Hearthwatch record" in found(checks.check_record, s)[1]
    s.database_path.unlink()
    s.database_path.mkdir()  # SQLite's answer on a read-only disk, too
    assert "cannot be opened" in found(checks.check_record, s)[1] and not list(checks.check_pipeline(s))


def test_the_clock_and_its_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(checks.check_clock, settings(tmp_path, HEARTHWATCH_TIMEZONE="Europe/Berlin"))[0] == "ok"
    monkeypatch.setattr(checks, "EARLIEST", 1e12)
    assert "set its clock" in found(checks.check_clock, settings(tmp_path))[1]


def test_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(checks.check_model, "yard")[0] == "note"
    assert "has no config.json" in found(checks.check_model, str(tmp_path))[1]
    for name in checks.MODEL_FILES:
        (tmp_path / name).touch()
    assert found(checks.check_model, str(tmp_path))[0] == "ok"
    hub = "PekingU/rtdetr_nobody_has_this"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in found(checks.check_model, hub)[1]
    assert "no hub id" in found(checks.check_model, "a b/c/d")[1]


def test_the_device(tmp_path: Path) -> None:
    health, words = found(checks.check_torch, "cpu")
    assert health == "ok" and "detects on cpu" in words
    health, words = found(checks.check_torch, "cuda:99")
    assert health == "wrong" and "cuda:99" in words


def test_the_detection_service(tmp_path: Path) -> None:
    row = {"class": "person", "confidence": 0.9, "bbox": [1, 2, 3, 4]}
    with HttpEar(200, 500, said=json.dumps({"detections": [row]}).encode()) as good, HttpEar(said=b"<html>") as bad:
        assert found(checks.check_node, "detect", RtDetr(url=good.url)) == ("ok", f"{good.url} detects")
        assert "answers 500" in found(checks.check_node, "detect", RtDetr(url=good.url))[1]
        assert "is it an RT-DETR service?" in found(checks.check_node, "detect", RtDetr(url=bad.url))[1]
    health, words = found(checks.check_node, "detect", RtDetr(url=GONE.replace("//", "//me:s3cret@")))
    assert health == "wrong" and "start the service" in words and "s3cret" not in words


def test_what_the_flow_file_says_is_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = tmp_path / "flow.toml"
    flow.write_text(f'extends = "default"\n[detect]\nurl = "{GONE}"\n[redis]\nurl = "redis://127.0.0.1:9"\n')
    monkeypatch.setenv("HEARTHWATCH_FLOW", str(flow))
    findings = {finding.subject: finding for finding in find(settings(tmp_path))}
    assert findings["detect"].health == "wrong" and GONE in findings["detect"].words
    assert findings["redis"].health == "wrong" and "start Redis" in findings["redis"].words
    assert not {"model", "torch"} & findings.keys(), "nothing is detected in this process"
    flow.write_text("[detect]\nurls = 1\n")
    findings = {finding.subject: finding for finding in find(settings(tmp_path))}
    assert findings["flow"].health == "wrong" and findings["redis"].health == "ok"


def test_redis(tmp_path: Path) -> None:
    assert "events are not published" in found(checks.check_node, "redis", Redis())[1]
    with RedisServer(tmp_path / "redis") as server:
        assert found(checks.check_node, "redis", Redis(url=server.url))[0] == "ok"
    health, words = found(checks.check_node, "redis", Redis(url=server.url.replace("//", "//:s3cret@")))
    assert health == "wrong" and "fix REDIS_URL" in words and "s3cret" not in words


def test_who_is_notified_is_asked_and_notified_of_nothing(tmp_path: Path) -> None:
    with HttpEar() as ear:
        assert found(checks.check_node, "hook", Webhook(url=f"{ear.url}/s3cret"))[0] == "ok"
        assert found(checks.check_node, "phone", Apprise(urls=(ear.url.replace("http:", "json:"),)))[0] == "ok"
        assert not ear.heard
    for component in (
        Webhook(url=f"{GONE}/s3cret"),
        Ntfy(topic="mine", server=GONE),
        Mqtt(url="mqtt://a:s3cret@127.0.0.1:9"),
    ):
        health, words = found(checks.check_node, "hook", component)
        assert health == "wrong" and "127.0.0.1" in words and "correct" in words and "s3cret" not in words
    health, words = found(checks.check_node, "phone", Apprise(urls=("json://me:s3cret@127.0.0.1:9",)))
    assert health == "wrong" and words.startswith("json: 127.0.0.1:9 cannot be reached") and "s3cret" not in words


def test_a_wrong_token_of_ntfy_is_found(tmp_path: Path) -> None:
    with NtfyServer(token="tk_right") as server:
        assert found(checks.check_node, "phone", Ntfy(topic="mine", server=server.url, token="tk_right"))[0] == "ok"
        health, words = found(checks.check_node, "phone", Ntfy(topic="mine", server=server.url, token="tk_wrong"))
    assert health == "wrong" and words == "127.0.0.1 refuses us (401): correct the token" and not server.log


def test_a_broker_is_asked_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", password="right") as broker:
        for password, expected in (("right", "ok"), ("wrong", "wrong")):
            url = broker.url.replace("//", f"//hearth:{password}@")
            assert found(checks.check_node, "home", Mqtt(url=url))[0] == expected
        with Ear(broker, "right") as ear:
            assert not ear.all() and not ear.retained


def test_the_language_model(tmp_path: Path) -> None:
    pages = {"/v1/models": json.dumps({"data": [{"id": "nemotron"}]}).encode()}
    with HttpEar(pages=pages) as ear, HttpEar(pages={"/v1/models": b"{}"}) as other:
        assert found(checks.check_node, "analyze", Nemotron(url=f"{ear.url}/v1/"))[0] == "ok"
        wrong = Nemotron(url=ear.url, model="llama")
        assert "serves nemotron, not llama" in found(checks.check_node, "analyze", wrong)[1]
        assert "not as vLLM does" in found(checks.check_node, "analyze", Nemotron(url=other.url))[1]
    assert "hearthwatch llm" in found(checks.check_node, "analyze", Nemotron(url=GONE))[1]
    for pictures, words in ((True, "reads pictures"), ("blind", "reads no pictures"), (False, "reads no pictures")):
        with Standin(pictures=pictures) as server:
            assert found(checks.check_node, "analyze", Nemotron(url=server.url))[1].endswith(
                f"serves nemotron, and it {words}"
            )
            never = found(checks.check_node, "analyze", Nemotron(url=server.url, pictures=0))
            assert never[1].endswith("serves nemotron") and server.probes == 1


@pytest.mark.parametrize(("uploads", "code"), [("uploads", 0), ("nowhere", 1)])
def test_the_command_counts_problems(tmp_path: Path, uploads: str, code: int) -> None:
    (tmp_path / "uploads/cam").mkdir(parents=True)
    environment = {
        "FOSCAM_BASE_PATH": str(tmp_path / uploads),
        "HEARTHWATCH_DETECTOR_MODEL": "yard",
        "HEARTHWATCH_DEVICE": "cpu",
    }
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HEARTHWATCH_", "REDIS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "hearthwatch.cli", "doctor"], cwd=tmp_path, capture_output=True, text=True,
        env={**ours, **environment, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.endswith("no problems\n" if code == 0 else "1 problem\n")


def test_a_picture_that_came_before_is_said_to_be_the_same(tmp_path: Path) -> None:
    s = settings(tmp_path)
    record = Record(s.database_path)
    Ledger(record).discover([FoundFile("c", "c", f"c/{n}.jpg", n, 9, 10**15, n) for n in (1, 2)], 9)
    sql = "UPDATE frames SET state = 'settled', content_hash = 'ab12', error_stage = iif(id = 2, 'duplicate', NULL), error = 'duplicate of 1'"
    record.transact(lambda: record.execute(sql))
    record.close()
    health, words = found(checks.check_pipeline, s)
    assert health == "note" and "the newest, c/2.jpg, is the same picture as 1 of Sunday 09 September 2001" in words
