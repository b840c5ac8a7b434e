"""Promise: what breaks is named by health and feed, is gone from both after recovery, and no picture is lost by it.

Here several faults at once, without measuring speed; `scripts/torture --chains` brings each on its own and measures.
"""

from contextlib import ExitStack

import pytest

from tests.support.mqtt_broker import binary as mosquitto
from tests.support.redis_server import binary as redis_server
from tests.torture import chains
from tests.torture.chains import FAULTS, World, is_gone, named_by

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SECONDS_MAX = 90.0  # what takes ten seconds, on a machine that may be very busy


@pytest.fixture
def world(tmp_path, monkeypatch):
    if redis_server() is None or mosquitto() is None:
        pytest.skip("needs redis-server and mosquitto")
    for constant, value in (("RATE", 1.0), ("POLL_SECONDS", 0.2), ("ASK_SECONDS", 1.0)):  # nothing is measured
        monkeypatch.setattr(chains, constant, value)
    with ExitStack() as stack:
        yield World(tmp_path, False, stack)


def chosen(*names):
    return [fault for fault in FAULTS if fault.name in names]


def test_faults_are_named_and_gone_and_nothing_is_lost(world):
    services = chosen("detector dead", "vLLM dead", "Redis dead", "MQTT dead")
    assert len(services) == 4
    began, usual = world.begin(), world.wrong()
    with ExitStack() as broken:
        for fault in services:
            broken.enter_context(fault.do(world))
        missing = lambda: [fault.name for fault in services if not named_by(world, fault, began, usual)]  # noqa: E731
        world.wait(lambda: not missing(), SECONDS_MAX)
        assert missing() == []
    left = lambda: [fault.name for fault in services if not is_gone(world, fault, usual)]  # noqa: E731
    world.wait(lambda: not left(), SECONDS_MAX)
    assert left() == []
    off = [kind for fault in services for kind in fault.kinds if not world.has_message((kind,), "off", began)]
    assert off == []

    world.finish()
    assert world.wait(lambda: world.lost() == 0, SECONDS_MAX) is not None, world.lost()
