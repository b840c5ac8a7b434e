"""Promise: one detector serves many clients: pictures share batches, a bad one costs itself, a killed service nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from itertools import chain
from pathlib import Path

import httpx
import pytest
from PIL import Image

from hearthwatch.api.server import listen
from hearthwatch.cli.detector import PICTURES_MIN, DetectorServer, detector, picture_of
from hearthwatch.demo.scenes import CAMERAS, story
from hearthwatch.gpu import DetectorError
from hearthwatch.gpu.decode import open_picture
from hearthwatch.gpu.detector import Detector, InferenceResult
from hearthwatch.gpu.remote import REQUESTS_MAX, RemoteDetector, probe_detector
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Detection, Frame
from hearthwatch.stages.detect import RtDetr
from tests.support.commands import read_until
from tests.support.context import context
from tests.support.ports import free_port
from tests.support.web_proxy import Proxy

TOKEN = "correct-horse-battery"


class Device:
    """What a `Detector` is to the service: it finds one person as wide as the picture, in a batch whenever `turns` allows one."""

    def __init__(self, batch_max):
        self.batch_max, self.at_once, self.batches = batch_max, batch_max, []
        self.turns, self.began = threading.Semaphore(0), threading.Semaphore(0)
        self.failure = None

    def infer(self, decoded):
        self.began.release()
        assert self.turns.acquire(timeout=20)
        self.batches.append([one.width for one in decoded])
        if self.failure:
            raise self.failure
        return [InferenceResult((Detection("person", 0.9, (0, 0, one.width, 9)),), None, 1.0) for one in decoded]

    def describe(self):
        return "a device"

    def details(self):
        return {"device": "none"}


class Served:
    """The service for a device, over real HTTP."""

    def __init__(self, device, token):
        self.device, self.server = device, DetectorServer(device, token)
        self.listening = listen("127.0.0.1", 0)
        self.port = self.listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]})
        self.thread.start()
        self.clients = ThreadPoolExecutor(PICTURES_MIN + 1)

    def send(self, width):
        """Send a picture of this width; returns the future of its response."""
        files = {"file": ("a.jpg", jpeg(width), "image/jpeg")}
        return self.clients.submit(httpx.post, f"{self.url}/detect", files=files, timeout=20)

    def wait_for(self, waiting):
        """Wait until so many pictures are in the service."""
        while httpx.get(f"{self.url}/health").json()["waiting"] != waiting:
            assert self.thread.is_alive()

    def stop(self):
        self.server.handle_exit(signal.SIGTERM, None)


@contextmanager
def serving(batch_max=1, token=None):
    served = Served(Device(batch_max), token)
    try:
        yield served
    finally:
        served.device.turns.release(1000)
        served.stop()
        served.thread.join(20)
        assert not served.thread.is_alive()
        served.clients.shutdown()
        served.listening.close()


def jpeg(width):
    file = BytesIO()
    Image.new("RGB", (width, 40)).save(file, "JPEG")
    return file.getvalue()


def width_found(response):
    (found,) = response.json()["detections"]
    assert (found["class"], found["confidence"]) == ("person", 0.9)
    assert found["bbox"] == {"x": 0, "y": 0, "width": found["bbox"]["width"], "height": 9}
    return found["bbox"]["width"]


def test_a_lone_picture_is_a_batch_and_what_waits_meanwhile_is_the_next():
    with serving(batch_max=4) as served:
        sent = [served.send(100)]
        assert served.device.began.acquire(timeout=20)
        sent += [served.send(101 + n) for n in range(5)]
        served.wait_for(6)
        served.device.turns.release(10)
        assert [width_found(one.result()) for one in sent] == list(range(100, 106))
        assert [len(batch) for batch in served.device.batches] == [1, 4, 1]
        health = httpx.get(f"{served.url}/health").json()
    assert (health["status"], health["pictures"], health["batches"], health["waiting"]) == ("ok", 6, 3, 0)
    assert (health["detector"], health["details"]) == ("a device", {"device": "none"})


def test_beyond_what_may_wait_pictures_are_sent_back_and_come_again():
    with serving() as served:
        sent = [served.send(100 + n) for n in range(PICTURES_MIN)]
        served.wait_for(PICTURES_MIN)
        refused = served.send(99).result()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"detail": f"busy: {PICTURES_MIN} pictures wait"}
        served.device.turns.release(100)
        assert sorted(width_found(one.result()) for one in sent) == list(range(100, 100 + PICTURES_MIN))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"files": {"file": b"no picture"}}, "not a picture: neither JPEG nor PNG"),
        ({"files": {"file": b""}}, "empty file"),
        ({"files": {"file": jpeg(90)[:400]}}, "truncated"),
        ({"files": {"image": jpeg(90)}}, "as field `file`"),
        ({"files": {"image": ("file", jpeg(90))}}, "as field `file`"),
        ({"content": jpeg(90), "headers": {"content-type": "image/jpeg"}}, "as field `file`"),
        ({}, "as field `file`"),
    ],
)
def test_a_bad_picture_is_refused_in_words_and_breaks_no_other(request_, words):
    with serving() as served:
        good = served.send(100)
        assert served.device.began.acquire(timeout=20)
        bad = httpx.post(f"{served.url}/detect", **request_)
        served.device.turns.release()
        assert width_found(good.result()) == 100
        assert bad.status_code == 400 and words in bad.json()["detail"]


def test_a_form_is_read_as_browsers_curl_and_libraries_write_it():
    def form(disposition):
        return (
            b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--b\r\n%s\r\n\r\nx\r\n\r\n-\r\n--b--\r\n'
            % disposition
        )

    for one in (
        b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg',
        b"Content-Type: image/jpeg\r\nContent-Disposition: form-data; name=file",
        b'content-disposition:form-data;filename="name=x";name="file"\r\nX: y',
    ):
        assert picture_of("multipart/form-data; boundary=b", form(one)) == b"x\r\n\r\n-"
        assert picture_of('Multipart/Form-Data; charset=utf-8; boundary="b"', form(one)) == b"x\r\n\r\n-"


def test_who_hangs_up_gives_its_place_to_others():
    with serving() as served:
        first = served.send(100)
        assert served.device.began.acquire(timeout=20)
        with socket.create_connection(("127.0.0.1", served.port)) as gone:
            body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + jpeg(66) + b"\r\n--b--\r\n"
            head = f"POST /detect HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
            gone.sendall(head.encode() + body)
            served.wait_for(2)
        served.wait_for(1)
        last = served.send(101)
        served.device.turns.release(10)
        assert [width_found(one.result()) for one in (first, last)] == [100, 101]
        assert served.device.batches == [[100], [101]]


def test_a_token_is_asked_for_where_there_is_one():
    with serving(token=TOKEN) as served:
        served.device.turns.release(100)
        files = {"file": jpeg(90)}
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic %"}, {"authorization": TOKEN}):
            assert httpx.post(f"{served.url}/detect", files=files, headers=headers).status_code == 401
        good = {"authorization": f"Bearer {TOKEN}"}
        assert width_found(httpx.post(f"{served.url}/detect", files=files, headers=good)) == 90
        foreign = httpx.post(f"{served.url}/detect", files=files, headers=good | {"origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert httpx.get(f"{served.url}/health").status_code == 200
        with pytest.raises(UserError, match="it answers 401"):
            probe_detector(served.url)
        assert probe_detector(served.url.replace("//", f"//{TOKEN}@")).endswith("detects")


def test_a_stop_finishes_the_batch_and_refuses_what_waits():
    with serving() as served:
        first = served.send(100)
        assert served.device.began.acquire(timeout=20)
        second = served.send(101)
        served.wait_for(2)
        served.stop()
        served.device.turns.release()
        assert width_found(first.result()) == 100
        assert (second.result().status_code, second.result().json()) == (503, {"detail": "the detector is stopped"})
    assert served.device.batches == [[100]]


def test_a_device_that_is_lost_ends_the_service_and_no_picture_is_to_blame():
    with serving() as served:
        served.device.failure = DetectorError("the card is gone")
        served.device.turns.release()
        lost = served.send(100).result()
        assert (lost.status_code, lost.json()) == (503, {"detail": "the card is gone"})
        served.thread.join(20)
        assert not served.thread.is_alive() and str(served.server.service.queue.failure) == "the card is gone"


def test_other_machines_need_a_token():
    with pytest.raises(
        UserError, match="without HEARTHWATCH_DETECTOR_TOKEN anyone there could use this detector: set a token"
    ):
        detector(free_port(), "0.0.0.0")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Pictures of all cameras, opened, and what this process' own detector finds in each."""
    folder, opened = tmp_path_factory.mktemp("pictures"), []
    clips = [story(name, seed) for seed, name in enumerate(CAMERAS, 4_000)]
    frames = [clip.frame(second).jpeg() for clip in clips for second in range(4, clip.seconds, 8)]
    for n, frame in enumerate(frames):
        (folder / f"{n}.jpg").write_bytes(frame)
        opened.append(open_picture(folder / f"{n}.jpg"))
    expected = [one.detections for one in Detector("yard", "cpu", 0.3).infer(opened)]
    assert len(expected) > 10 and sum(map(len, expected)) > 10
    return opened, expected


@contextmanager
def process():
    """`hearthwatch detector` once it detects, and its port."""
    port = free_port()
    command = [sys.executable, "-m", "hearthwatch.cli", "detector", "--port", str(port), "--model", "yard"]
    environment = {**os.environ, "HEARTHWATCH_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, env=environment) as started:
        try:
            yield started, port
        finally:
            started.kill()


@pytest.mark.slow
def test_two_clients_of_a_process_get_the_boxes_of_this_one_though_it_is_killed(seen, monkeypatch):
    monkeypatch.setenv("HEARTHWATCH_DEVICE", "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    port, (opened, expected) = free_port(), seen
    clients = [RemoteDetector(f"http://127.0.0.1:{port}", 0.3, pauses_seconds=(0.05,)) for _ in range(2)]
    command = [sys.executable, "-m", "hearthwatch.cli", "detector", "--port", str(port), "--model", "yard"]
    first = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    read_until(first, f"detecting at http://127.0.0.1:{port} with RT-DETRv2 yard on cpu")
    results = [[client.submit(one) for one in opened] for client in clients]
    results[0][3].result(60)
    first.kill()
    first.communicate()
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as second:
        try:
            for mine in results:
                check_boxes([one.result(60).detections for one in mine], expected)
                assert all(one.result().error is None for one in mine)
        finally:
            second.terminate()
        assert second.wait(30) == 0
    for client in clients:
        client.close()


@pytest.mark.slow
def test_two_services_behind_one_url_share_the_pictures_and_when_one_is_killed_none_is_lost(seen, tmp_path):
    (recipe,) = re.findall(
        r"```nginx\n(.*?)```", (Path(__file__).parents[2] / "docs" / "detector.md").read_text(), re.S
    )
    now, url_port = datetime(2026, 11, 22, 8, 15, tzinfo=UTC), free_port()
    frames = [Frame(n, f"uid-{n}", "yard", f"{n}.jpg", now, now, opened=one) for n, one in enumerate(seen[0])]
    with process() as (first, first_port), process() as (second, second_port):
        for one, port in (first, first_port), (second, second_port):
            read_until(one, f"detecting at http://127.0.0.1:{port} with RT-DETRv2 yard on cpu")
        for given, here in (
            ("10.0.0.5:8001", f"127.0.0.1:{first_port}"),
            ("10.0.0.6:8001", f"127.0.0.1:{second_port}"),
            ("listen 8001", f"listen 127.0.0.1:{url_port}"),
        ):
            assert given in recipe
            recipe = recipe.replace(given, here)
        served = lambda port: httpx.get(f"http://127.0.0.1:{port}/health").json()["pictures"]  # noqa: E731
        options = RtDetr(url=f"http://127.0.0.1:{url_port}", confidence=0.3, object_types=("*",))
        with Proxy("nginx", tmp_path / "nginx", free_port(), recipe):
            stage = options.build(context(tmp_path))
            stage.open()
            check(stage.process(frames), seen)
            assert served(first_port) > 0 and served(second_port) > 0

            first.send_signal(signal.SIGSTOP)  # what it gets now is in flight when it is killed
            before, out = served(second_port), stage.take(frames)
            while served(second_port) < before + len(frames) - REQUESTS_MAX:
                out += stage.take([])
            assert len(out) < len(frames)
            first.kill()
            check(out + stage.finish(), seen)
            stage.close()


def check(out, seen):
    """In order, none missing, and each with what was to be found."""
    assert [one.frame.id for one in out] == list(range(len(seen[0])))
    assert not any(one.error for one in out)
    check_boxes([one.detections for one in out], seen[1])


def check_boxes(pictures, expected):
    """The same boxes; another number of threads, or other pictures in the batch, may move the last digits."""
    kinds = [[[d.object_type for d in found] for found in each] for each in (pictures, expected)]
    assert kinds[0] == kinds[1]
    for one, other in zip(chain(*pictures), chain(*expected), strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
        assert one.bbox == pytest.approx(other.bbox, abs=1)
