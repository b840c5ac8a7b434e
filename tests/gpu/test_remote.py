"""A detector elsewhere, over real HTTP: nothing is lost while it is away, and no answer of its is believed unread."""

import asyncio
import base64
import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import threading
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hearthwatch.gpu import StoppedError
from hearthwatch.gpu.boxes import DetectionFilter
from hearthwatch.gpu.decode import open_picture
from hearthwatch.gpu.remote import InvalidResponseError, RemoteDetector, parse_detections
from hearthwatch.schemas.items import Detection, Frame
from hearthwatch.stages.detect import RtDetr
from tests.support.context import context
from tests.support.detector_service import PERSON, DetectorService, answer

SEEN = (Detection("person", 0.97, (10, 20, 30, 40)),)


@pytest.fixture
def service():
    """Starts a service with this script."""
    started = []

    def start(script, port=0):
        started.append(DetectorService(script, port))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def client(balancer):
    """A client of this service; it does not wait long before it asks again."""
    made = []

    def make(url, *args, **options):
        made.append(RemoteDetector(url, *args, pauses_seconds=(0.01,), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def away():
    """An event: the client has reported that the service is unavailable."""
    said = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: said.set()
    logging.getLogger("hearthwatch.gpu.remote").addHandler(handler)
    yield said
    logging.getLogger("hearthwatch.gpu.remote").removeHandler(handler)


@pytest.fixture
def balancer():
    """Starts a proxy that hands its connections to these ports of this machine in turn; returns its URL."""
    loop, started = asyncio.new_event_loop(), []
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def copy(reader, writer):
        with contextlib.suppress(OSError):
            while piece := await reader.read(65_536):
                writer.write(piece)
        writer.close()

    def start(ports):
        turns = itertools.cycle(ports)

        async def connected(reader, writer):
            reader_there, writer_there = await asyncio.open_connection("127.0.0.1", next(turns))
            await asyncio.gather(copy(reader, writer_there), copy(reader_there, writer))

        coming = asyncio.start_server(connected, "127.0.0.1", 0)
        started.append(asyncio.run_coroutine_threadsafe(coming, loop).result())
        return f"http://127.0.0.1:{started[-1].sockets[0].getsockname()[1]}"

    yield start
    for server in started:
        loop.call_soon_threadsafe(server.close)
    asyncio.run_coroutine_threadsafe(_all_done(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _all_done():
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})


@pytest.fixture
def pictures(tmp_path):
    """Opened uploads of different contents, as JPEG and PNG."""

    def upload(count=1):
        opened = []
        for number in range(count):
            path = tmp_path / f"{number}.{'png' if number % 2 else 'jpg'}"
            Image.new("RGB", (100 + number, 80), (number, 0, 0)).save(path)
            opened.append(open_picture(path))
        return opened

    return upload


def test_the_picture_goes_out_as_uploaded_and_boxes_come_back(service, client, pictures):
    there = service(lambda n, file: answer(PERSON))
    opened = pictures(2)
    looked = client(there.url + "/").infer(opened)
    assert [one.detections for one in looked] == [SEEN, SEEN]
    assert sorted(there.files) == sorted(one.data for one in opened)
    assert all(one.error is None and one.milliseconds > 0 for one in looked)


def test_a_picture_that_was_turned_or_cut_short_goes_out_as_it_was_decoded(service, client, tmp_path):
    there = service(lambda n, file: answer(PERSON))
    path, exif, noise = tmp_path / "a.jpg", Image.Exif(), Image.effect_noise((64, 80), 90).convert("RGB")
    exif[0x0112] = 6
    noise.save(path, exif=exif)
    turned = open_picture(path)
    noise.save(path)
    path.write_bytes(path.read_bytes()[:-2])
    cut = open_picture(path)
    assert turned.is_turned and cut.error
    client(there.url).infer([turned])
    client(there.url).infer([cut])
    sent = [Image.open(BytesIO(file)) for file in there.files]
    assert [one.size for one in sent] == [(80, 64), (64, 80)]
    assert all(one.tobytes() == opened.picture().tobytes() for one, opened in zip(sent, (turned, cut), strict=True))


@pytest.mark.parametrize(
    "bbox", [{"x": 10, "y": 20, "width": 30, "height": 40}, [10, 20, 30, 40], [10.2, 19.8, 30, 40.1]]
)
def test_both_shapes_of_a_box(bbox):
    body = answer({**PERSON, "bbox": bbox})[1]
    assert parse_detections(body, DetectionFilter(), 100, 80) == SEEN


def test_our_threshold_types_and_spellings_hold(service, client, pictures):
    there = service(
        lambda n, file: answer(
            {**PERSON, "class": "Motorbike", "confidence": 0.7},
            {**PERSON, "confidence": 0.69},
            {**PERSON, "class": "sofa"},
            {**PERSON, "class": "person", "confidence": 0.7},
        )
    )
    (looked,) = client(there.url, 0.7, ("person", "motorcycle")).infer(pictures())
    assert [(one.object_type, one.confidence) for one in looked.detections] == [("motorcycle", 0.7), ("person", 0.7)]
    (looked,) = client(there.url, 0.0, ("person",), 0.6).infer(pictures())
    assert [(one.object_type, one.confidence) for one in looked.detections] == [("person", 0.7)]


def test_boxes_are_cut_to_the_picture():
    body = answer({**PERSON, "bbox": [-5, -5, 1000, 1000]})[1]
    assert parse_detections(body, DetectionFilter(), 100, 80)[0].bbox == (0, 0, 100, 80)


@pytest.mark.parametrize("trouble", [(500, b""), (503, b"busy"), (302, b""), None])
def test_a_service_in_trouble_is_asked_again(service, client, pictures, caplog, trouble):
    there = service(lambda n, file: trouble if n <= 3 else answer(PERSON))
    with caplog.at_level(logging.INFO):
        (looked,) = client(there.url).infer(pictures())
    assert looked.detections == SEEN and len(there.files) == 4
    said = [record.getMessage() for record in caplog.records if record.name == "hearthwatch.gpu.remote"]
    assert len(said) == 2  # once per outage, not once per attempt
    assert "is unavailable" in said[0] and "is available again" in said[1]


def test_a_service_that_comes_later_is_waited_for(service, client, pictures, away):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    remote, opened, looked = client(f"http://127.0.0.1:{port}"), pictures(), []
    waiting = threading.Thread(target=lambda: looked.extend(remote.infer(opened)))
    waiting.start()
    assert away.wait(20)
    service(lambda n, file: answer(PERSON), port)
    waiting.join(20)
    assert [one.detections for one in looked] == [SEEN]


def test_a_service_that_hangs_is_asked_again(service, client, pictures):
    def hang_once(number, file):
        if number == 1:
            there.released.wait(20)
        return answer(PERSON)

    there = service(hang_once)
    (looked,) = client(there.url, timeout_seconds=2).infer(pictures())
    assert looked.detections == SEEN and len(there.files) == 2


def test_answers_come_in_the_order_of_the_pictures(service, client, pictures):
    several = threading.Barrier(4)  # passes only with four requests in flight

    def by_content(number, file):
        several.wait(20)
        width = Image.open(BytesIO(file)).width
        return answer({**PERSON, "bbox": [0, 0, width, 10]})

    there = service(by_content)
    looked = client(there.url).infer(pictures(12))
    assert [one.detections[0].bbox[2] for one in looked] == [100 + number for number in range(12)]


def test_connections_are_kept_and_as_many_requests_are_in_flight_as_asked_for(service, client, pictures):
    several = threading.Barrier(6)  # passes only with six requests in flight

    def together(number, file):
        several.wait(20)
        return answer(PERSON)

    there = service(together)
    client(there.url, requests_max=6).infer(pictures(30))
    assert (len(there.files), there.connections) == (30, 6)


def test_a_kept_connection_that_was_closed_is_no_outage(service, client, pictures, away):
    there = service(lambda n, file: None if n == 2 else answer(PERSON))
    remote = client(there.url)
    assert [remote.infer(pictures())[0].detections for _ in range(2)] == [SEEN, SEEN]
    assert len(there.files) == 3 and not away.is_set()


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_service_is_asked_again_and_is_no_outage(service, client, pictures, away, status):
    busy = (status, b"", ("Retry-After", "1"))
    there = service(lambda n, file: busy if n <= 2 else answer(PERSON))
    (looked,) = client(there.url).infer(pictures())
    assert looked.detections == SEEN and len(there.files) == 3 and not away.is_set()


@pytest.mark.parametrize("status", [401, 403, 408, 429])
def test_a_refusal_that_is_no_pictures_fault_costs_no_picture(service, client, pictures, away, status):
    there = service(lambda n, file: answer(PERSON) if away.is_set() else (status, b"no"))
    (looked,) = client(there.url).infer(pictures())
    assert looked.detections == SEEN and looked.error is None


def test_the_token_of_the_url_is_sent(service, client, pictures):
    there = service(lambda n, file: answer(PERSON))
    client(there.url.replace("http://", "http://correct-horse@")).infer(pictures())
    assert there.headers["authorization"] == "Basic " + base64.b64encode(b"correct-horse:").decode()


def test_two_services_behind_one_url_share_the_pictures_and_one_may_die(service, client, pictures, balancer):
    both = threading.Barrier(2)  # passes only if both work at the same time

    def by_width(number, file):
        if number == 1:
            both.wait(20)
        return answer({**PERSON, "bbox": [0, 0, Image.open(BytesIO(file)).width, 10]})

    there = [service(by_width), service(by_width)]
    remote = client(balancer([one.server_port for one in there]))
    opened = pictures(20)
    widths = [[100 + number] for number in range(20)]
    assert [[box.bbox[2] for box in one.detections] for one in remote.infer(opened)] == widths
    shares = [len(one.files) for one in there]
    assert sum(shares) == 20 and min(shares) > 0
    there[0].script = lambda n, file: None  # as a process that is killed: it hangs up
    assert [[box.bbox[2] for box in one.detections] for one in remote.infer(opened)] == widths


def test_a_threshold_is_the_same_here_and_there(service, client, pictures):
    score = float(np.float32(0.7))  # a little less than 0.7, and met by it where the model runs in this process
    there = service(lambda n, file: answer({**PERSON, "confidence": score}))
    (looked,) = client(there.url, 0.7).infer(pictures())
    assert [one.confidence for one in looked.detections] == [score]


def test_a_refused_picture_is_that_pictures_error(service, client, pictures):
    opened = pictures(3)
    there = service(lambda n, file: (400, b"no picture of mine") if file == opened[1].data else answer(PERSON))
    looked = client(there.url).infer(opened)
    assert [one.detections for one in looked] == [SEEN, (), SEEN]
    assert [one.error for one in looked] == [None, f"{there.url}: answered 400: 'no picture of mine'", None]


def test_a_web_page_in_place_of_an_answer_is_waited_for(service, client, pictures):
    there = service(lambda n, file: (200, b"\n<html>It works!</html>") if n <= 2 else answer(PERSON))
    (looked,) = client(there.url).infer(pictures())
    assert (looked.detections, looked.error, len(there.files)) == (SEEN, None, 3)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "answered 200 with no JSON"),
        (b"\xff\xfe\x00", "answered 200 with no JSON"),
        (b"[" * 100_000, "answered 200 with no JSON"),
        (b"[]", "answered without a list of detections"),
        (b'{"detections": null}', "answered without a list of detections"),
        (b'{"detections": [7]}', "answered with an invalid detection: 7"),
        (answer({**PERSON, "confidence": 1.5})[1], "a confidence from 0 to 1"),
        (answer({**PERSON, "confidence": "0.9"})[1], "invalid detection"),
        (answer({**PERSON, "confidence": True})[1], "invalid detection"),
        (answer({**PERSON, "class": 0})[1], "invalid detection"),
        (answer({**PERSON, "bbox": [1, 2, 3]})[1], "invalid detection"),
        (answer({**PERSON, "bbox": "abcd"})[1], "invalid detection"),
        (answer({**PERSON, "bbox": [1, 2, float("nan"), 4]})[1], "invalid detection"),
        (answer({**PERSON, "bbox": [1, 2, float("inf"), 4]})[1], "invalid detection"),
        (answer({**PERSON, "bbox": [1, 2, 10**400, 4]})[1], "invalid detection"),
        (answer({**PERSON, "bbox": [1, 2, 0, 4]})[1], "a box that has no area"),
        (answer({**PERSON, "bbox": [100, 2, 5, 4]})[1], "a box outside the picture of 100x80"),
        (answer({**PERSON, "bbox": [1, -9, 5, 9]})[1], "a box outside the picture of 100x80"),
    ],
)
def test_an_answer_that_is_none_is_that_pictures_error(service, client, pictures, body, reason):
    there = service(lambda n, file: (200, body))
    (looked,) = client(there.url).infer(pictures())
    assert looked.detections == () and reason in looked.error and looked.error.startswith(there.url)
    assert len(there.files) == 1


def test_an_endless_answer_is_cut_short(service, client, pictures):
    there = service(lambda n, file: (200, b" " * 5_000_000))
    (looked,) = client(there.url).infer(pictures())
    assert "more than 4000000 bytes" in looked.error


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["class", "confidence", "bbox", "x"]), inner)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.lists(json_values, max_size=3) | json_values)
def test_any_json_is_read_or_refused(value):
    body = json.dumps({"detections": value}).encode()
    try:
        parse_detections(body, DetectionFilter(0.0), 100, 80)
    except InvalidResponseError as reason:
        assert "answered" in str(reason)


def test_a_signal_ends_the_wait(service, client, pictures):
    """As SIGTERM does in the pipeline: the handler runs on the thread that waits."""

    def never(number, file):
        if number == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        return 503, b""

    there = service(never)
    remote = client(there.url)
    before = signal.signal(signal.SIGUSR1, lambda *_: remote.stop())
    try:
        with pytest.raises(StoppedError, match="stopped while waiting for the RT-DETR service at http://127"):
            remote.infer(pictures(2))
    finally:
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(StoppedError):
        remote.infer(pictures())


def test_stop_cuts_a_request_that_hangs(service, client, pictures):
    asked = threading.Event()

    def hang(number, file):
        asked.set()
        there.released.wait(20)

    there = service(hang)
    remote = client(there.url)
    stopper = threading.Thread(target=lambda: asked.wait(20) and remote.stop())
    stopper.start()
    with pytest.raises(StoppedError):
        remote.infer(pictures())
    stopper.join()
    assert not there.released.is_set()


def test_nothing_of_a_stopped_client_stays(client, service, pictures):
    there = service(lambda n, file: answer(PERSON))
    remote = client(there.url)
    remote.infer(pictures())
    remote.close()
    remote.close()
    assert remote._loop.is_closed() and remote._client.is_closed
    assert asyncio.all_tasks(remote._loop) == set()


def frame_of(opened, number):
    now = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)
    return Frame(number, f"uid-{number}", "front_door", f"{number}.jpg", now, now, opened=opened)


def test_a_detector_with_a_url_sends_frames_there(service, pictures, tmp_path):
    there = service(lambda n, file: answer(PERSON))
    stage = RtDetr(url=there.url, confidence=0.5, object_types=("person",)).build(context(tmp_path))
    stage.open()
    frames = [frame_of(opened, number) for number, opened in enumerate(pictures(5), 1)]
    seen = stage.process(frames)
    assert [(one.frame.id, one.detections, one.error) for one in seen] == [(n, SEEN, None) for n in range(1, 6)]
    assert {one.model for one in seen} == {f"rtdetr at {there.url}"}
    stage.stop()
    assert stage.process(frames) == [], "they come again at the next start"
    stage.close()


def test_passwords_in_the_url_stay_here(client):
    remote = client("http://me:secret@box:8001")
    assert "secret" not in remote.describe() + remote.model


@pytest.mark.parametrize(
    "body", [rb'"\ud800"', rb'{"detections": ["\ud800"]}', json.dumps([{"x": "y" * 10_000}]).encode()]
)
def test_an_error_about_half_a_character_can_be_written_down(body):
    with pytest.raises(InvalidResponseError) as caught:
        parse_detections(body, DetectionFilter(), 64, 48)
    assert len(str(caught.value).encode()) < 400
