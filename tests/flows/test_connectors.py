"""Promise: the example sources for Kafka, MQTT and HTTP lose nothing and double nothing through kills at commits, with real servers."""

import json
import os
import re
import shutil

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.http_receiver import Answering, LoopbackServer
from tests.support.mqtt_broker import Broker
from tests.support.pipeline import ROOT, Nursery, Pipeline, picture

pytestmark = pytest.mark.slow
N = 30
GUIDE = (ROOT / "docs" / "plugins.md").read_text()
KEEP = """
[journal]
use = "journal"
from = "items"
"""


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def pipeline(tmp_path, nursery):
    p = Pipeline(tmp_path, nursery=nursery)
    shutil.copy(ROOT / "examples" / "connectors" / "connectors.py", p.folder)
    yield p
    p.kill()


def write_flow(p, text):
    (p.folder / "flow.toml").write_text(text)


def kept(p):
    return [json.loads(item) for (item,) in p.rows("SELECT payload FROM journal ORDER BY id")]


def lives(p, done, *commits):
    """Start it, let it die after so many commits, again and again, and then run until `done()`."""
    for n in commits:
        p.start(resume=True, DIE_AT=f"{'before' if n % 2 else 'after'}:{n}")
        assert p.wait() == 9, p.said()
    p.start(resume=True).until(done).stop()


@pytest.fixture
def kafka():
    """A broker as librdkafka's own tests use it: the real protocol, in this process."""
    client = pytest.importorskip("confluent_kafka")
    producer = client.Producer({"test.mock.num.brokers": "1", "bootstrap.servers": "mock", "log_level": 0})
    (broker,) = producer.list_topics(timeout=20).brokers.values()
    return producer, f"{broker.host}:{broker.port}"


def test_pictures_that_kafka_names_are_taken_in_once(pipeline, kafka):
    producer, broker = kafka
    for n in range(N):
        file = pipeline.folder / "elsewhere" / f"{n}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(picture(f"kafka {n}"))
        producer.produce("arrivals", json.dumps({"camera": f"cam {n % 3}", "path": str(file)}).encode(), partition=0)
    assert producer.flush(20) == 0
    write_flow(
        pipeline,
        f"""
[kafka]
use = "connectors:Kafka"
brokers = ["{broker}"]
topics = ["arrivals"]
[arrivals]
use = "connectors:Arrivals"
from = "kafka"
[files]
use = "files"
from = "arrivals"
[detect]
use = "tests.support.null_detector:NullDetector"
from = "files"
[batch]
use = "batch"
from = "detect"
""",
    )
    lives(pipeline, lambda: pipeline.states() == {"settled": N}, 3, 6, 8)
    assert len({path for (path,) in pipeline.rows("SELECT path FROM frames")}) == N


def test_rows_of_an_http_api_are_journaled_once(pipeline):
    class Rows(Answering):
        def do_GET(self):
            after = int(self.path.partition("after=")[2])
            rows = [{"id": n, "db": 60 + n} for n in range(after + 1, min(after + 8, N + 1))]
            self.answer(200, json.dumps(rows).encode())

    with LoopbackServer(Rows) as server:
        write_flow(pipeline, f'[items]\nuse = "connectors:Api"\nurl = "{server.url}/rows"\nseconds = 0.05\n{KEEP}')
        lives(pipeline, lambda: len(kept(pipeline)) >= N, 2, 3, 4)
    assert [item["id"] for item in kept(pipeline)] == [*range(1, N + 1)]


def test_the_guides_sources_are_those_of_the_example():
    for name in ("Api", "Kafka"):
        assert guide(f"class {name}") in (ROOT / "examples" / "connectors" / "connectors.py").read_text(), name


def guide(begin):
    """A class of docs/plugins.md."""
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if begin in b]
    return block[block.index("class ") :]


def test_the_guides_mqtt_source_journals_what_a_broker_kept(pipeline, tmp_path):
    from paho.mqtt import publish

    imports = "import time\nfrom paho.mqtt.client import *\nfrom hearthwatch.schemas import Poller\n"
    (pipeline.folder / "my_parts.py").write_text(imports + guide("class Doors"))
    with Broker(tmp_path / "broker") as broker:
        where = {"hostname": "127.0.0.1", "port": broker.port}
        client = Client(CallbackAPIVersion.VERSION2, "hearthwatch-doors", clean_session=False)
        client.on_connect = lambda *_: client.subscribe("doors/+", qos=1)
        client.on_subscribe = lambda *_: client.disconnect()
        client.connect(*where.values())
        client.loop_forever()  # the broker knows it from now on
        publish.multiple([(f"doors/{n % 2}", json.dumps({"n": n}), 1) for n in range(5)], **where)
        write_flow(pipeline, f'[items]\nuse = "my_parts:Doors"\nport = {broker.port}\ntopic = "doors/+"\n{KEEP}')
        pipeline.start().until(lambda: len(kept(pipeline)) == 5)
        publish.single("doors/0", json.dumps({"n": 5}), 1, **where)
        pipeline.until(lambda: len(kept(pipeline)) == 6).stop()
    assert sorted(json.loads(item["payload"])["n"] for item in kept(pipeline)) == [*range(6)]


def test_messages_of_an_mqtt_broker_are_journaled_once(pipeline, tmp_path):
    with Broker(tmp_path / "broker") as broker:
        write_flow(
            pipeline,
            f'[items]\nuse = "connectors:Mqtt"\nport = {broker.port}\ntopic = "doors/+"\nclient_id = "t{os.getpid()}"\n{KEEP}',
        )
        pipeline.start(resume=True, snapshot_seconds=0)
        pipeline.until(lambda: pipeline.rows("SELECT 1 FROM meta WHERE key = 'graph'"))
        sender = Client(CallbackAPIVersion.VERSION2)
        sender.connect("127.0.0.1", broker.port)
        sender.loop_start()

        def send(numbers):
            for n in numbers:
                sender.publish(f"doors/{n % 2}", json.dumps({"n": n}), qos=1).wait_for_publish(20)

        send([0])  # until one is there the subscription may not be
        while not kept(pipeline):
            send([0])
        send(range(1, N // 2))
        pipeline.kill()
        send(range(N // 2, N))  # the broker keeps them
        pipeline.start(resume=True, snapshot_seconds=0)
        pipeline.until(lambda: len(kept(pipeline)) >= N).stop()
        sender.disconnect()
        sender.loop_stop()
    assert sorted(json.loads(item["payload"])["n"] for item in kept(pipeline)) == [*range(N)]
