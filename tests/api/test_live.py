"""Promise: whoever listens gets every message of the feed, in order, also after an absence or a restart of the server."""

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from hearthwatch.api.feed_hub import QUEUE_MAX, FeedRow, Subscriber
from hearthwatch.record import now
from hearthwatch.record.witness import Numbers, continue_above
from tests.support.api_record import SECONDS_MAX, Home, S, serve, start, story, wait_for
from tests.support.linking import link
from tests.support.ports import free_port


@pytest.fixture
def home(tmp_path):
    home = story(Home(tmp_path))
    yield home
    home.close()


@pytest.fixture
def served(home):
    with serve(home.settings()) as served:
        yield served


def seq_of(id):
    """What only the server reads in an id."""
    return int(id.rpartition(".")[2]) if id else None


def sse(lines):
    """(id, event, data) of each message."""
    fields = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "data" in fields:
                yield seq_of(fields.get("id")), fields["event"], json.loads(fields["data"])
            fields = {}


def feed(home):
    return [json.loads(payload) for (payload,) in home.record.rows("SELECT payload FROM feed ORDER BY seq")]


def listen(client, until: int, after: int | None = None, **headers):
    """The messages up to `seq` = until."""
    got = []
    params = {} if after is None else {"after": after}
    with client.stream("GET", "/api/live", params=params, headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for id, event, data in sse(stream.iter_lines()):
            if event == "event":
                assert id == data["seq"]
                got.append(data)
                if id >= until:
                    return got
    return got


def test_what_was_missed_comes_first_and_is_the_feed_itself(home, served):
    with served.client() as client:
        whole = feed(home)
        assert listen(client, whole[-1]["seq"], after=0) == whole
        assert listen(client, whole[-1]["seq"], **{"last-event-id": str(whole[2]["seq"])}) == whole[3:]


def test_a_new_listener_hears_what_happens_from_now_on(home, served):
    with served.client() as client, client.stream("GET", "/api/live") as stream:
        messages = sse(stream.iter_lines())
        assert next(messages)[1] == "status"
        event = home.picture("Front Door", 0, "bear")
        id, kind, data = next(message for message in messages if message[1] == "event")
        assert (kind, data["event_id"], data["type"], data["schema"]) == (
            "event",
            event,
            "event.opened",
            "hearthwatch.event.v1",
        )
        assert id == feed(home)[-1]["seq"]


@pytest.mark.slow
def test_the_status_comes_again_and_again(served):
    with served.client() as client, client.stream("GET", "/api/live") as stream:
        messages = sse(stream.iter_lines())
        first, _, third = (next(messages) for _ in range(3))  # the second may come at once, and be the first's own
        assert [first[1], third[1]] == ["status", "status"] and first[0] is None
        assert third[2]["now"] > first[2]["now"] and third[2]["to_review"] == 5


def test_a_websocket_gets_the_same_messages(home, served):
    with connect(f"ws://127.0.0.1:{served.port}/ws/events?after=0", proxy=None) as socket:
        whole = feed(home)
        assert [json.loads(socket.recv(SECONDS_MAX)) for _ in whole] == [
            {"type": "event", "data": message} for message in whole
        ]
        socket.send("ping")
        assert json.loads(socket.recv(SECONDS_MAX)) == {"type": "pong"}
        socket.send(b"\xff binary")
        event = home.picture("Driveway", 0, "person")
        assert json.loads(socket.recv(SECONDS_MAX))["data"]["event_id"] == event


def test_each_kind_of_message_comes_under_its_name(home, served):
    """Events, incidents and system messages, over both transports, in the order of the feed."""
    link(home.record)
    home.record.transact(lambda: home.record.execute(
        "INSERT INTO feed(kind, subject_id, revision, type, payload, at) VALUES ('system', 1, 1, 'system.behind', '{}', 0)"
    ))  # fmt: skip
    rows = home.record.rows("SELECT kind, payload FROM feed ORDER BY seq")
    assert {kind for kind, _ in rows} == {"event", "incident", "system"}
    with served.client() as client, client.stream("GET", "/api/live", params={"after": 0}) as stream:
        messages = (message for message in sse(stream.iter_lines()) if message[1] != "status")
        assert [next(messages)[1:] for _ in rows] == [(kind, json.loads(payload)) for kind, payload in rows]
    with connect(f"ws://127.0.0.1:{served.port}/ws/events?after=0", proxy=None) as socket:
        assert [json.loads(socket.recv(SECONDS_MAX)) for _ in rows] == [
            {"type": kind, "data": json.loads(payload)} for kind, payload in rows
        ]


def test_a_foreign_page_cannot_open_a_websocket(served):
    for origin, allowed in (("https://evil.example", False), (f"http://127.0.0.1:{served.port}", True), (None, True)):
        try:
            with connect(f"ws://127.0.0.1:{served.port}/ws/events", origin=origin, proxy=None):
                assert allowed
        except InvalidStatus as refused:
            assert not allowed and refused.response.status_code == 403


async def heard(port: int, last: int = 0):
    """(id, event) of each message, over a bare socket: two hundred clients are to cost the server something, not us."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /api/live?after={last} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        id = event = None
        while line := (await reader.readline()).decode():
            name, _, value = line.strip().partition(": ")
            if name == "id":
                id = seq_of(value)
            elif name == "event":
                event = value
            elif not line.strip() and event:
                yield id, event
                id = event = None
    finally:
        writer.close()


def test_many_listeners_each_get_everything_once(home, served):
    last = feed(home)[-1]["seq"]

    async def one(ready):
        got = []
        async for id, event in heard(served.port, last):
            ready.release()
            got += [id] if event == "event" else []
            if len(got) == 9:  # the event that was open, and four opened and closed
                break
        return got

    async def story():
        ready = asyncio.Semaphore(0)
        listeners = [asyncio.create_task(one(ready)) for _ in range(200)]
        for _ in listeners:
            await ready.acquire()
        await asyncio.to_thread(more, home, 4)
        return await asyncio.gather(*listeners)

    results = asyncio.run(asyncio.wait_for(story(), 30))
    wanted = [message["seq"] for message in feed(home) if message["seq"] > last]
    assert len(wanted) == 9 and all(result == wanted for result in results)
    wait_for(lambda: not served.server.config.app.state.app_state.hub._subscribers)


def more(home, events: int):
    """As many events, opened and closed."""
    for _ in range(events):
        home.at += 100 * S
        home.picture("Driveway", 0, "person")
        home.tick(ago=-40)


def test_a_client_that_does_not_keep_up_is_dropped_and_its_queue_with_it():
    async def story():
        client = Subscriber((0,))
        client.push([FeedRow((n,), "{}", "event") for n in range(QUEUE_MAX)])
        assert not client.dropped and len((await client.pop_all())[0]) == QUEUE_MAX
        client.push([FeedRow((n,), "{}", "event") for n in range(QUEUE_MAX)])
        client.push([FeedRow((QUEUE_MAX,), "{}", "event")])
        assert client.dropped and not client.queue and await client.pop_all() == ([], None)

    asyncio.run(story())


def test_one_that_never_reads_holds_nobody_up(home, served):
    deaf = socket.create_connection(("127.0.0.1", served.port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.sendall(b"GET /api/live?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with served.client() as client:
        whole = feed(home)
        assert listen(client, whole[-1]["seq"], after=0) == whole
    deaf.close()


def test_a_position_is_that_of_one_record(home, served):
    """Ids are opaque, plain numbers of 0.1 still work, and one of another record starts at the beginning."""
    whole = feed(home)
    with served.client() as client:
        with client.stream("GET", "/api/live", params={"after": 0}) as stream:
            ids = []
            for line in stream.iter_lines():
                if line.startswith("id: "):
                    ids.append(line[4:])
                if len(ids) == len(whole):
                    break
        assert len(set(ids)) == len(whole) and all(id.startswith(home.record.store_id[:8]) for id in ids)
        last = whole[-1]["seq"]
        for position in (ids[2], str(whole[2]["seq"])):
            assert listen(client, last, **{"last-event-id": position}) == whole[3:]
            assert listen(client, last, after=position) == whole[3:]
        assert listen(client, last, **{"last-event-id": "deadbeef.999999"}) == whole

        assert client.get("/api/live", params={"after": "-1"}).status_code == 422


def test_an_id_of_the_lost_state_gets_everything_new_after_a_restore(home, served):
    """The lost state had given higher numbers than the restored record; it continues above them (tests/record/test_restore.py)."""
    lost = feed(home)[-1]["seq"] + 500
    home.record.witness.note(home.record.store_id, Numbers(10**5, lost))
    continue_above(home.record, now())
    with served.client() as client, ThreadPoolExecutor() as pool:
        heard = pool.submit(listen, client, lost + 1, **{"last-event-id": f"{home.record.store_id[:8]}.{lost}"})
        event = home.picture("Front Door", 0, "bear")
        assert [message["event_id"] for message in heard.result(SECONDS_MAX)][-1] == event
        assert min(message["seq"] for message in heard.result()) > lost


def test_a_new_record_in_the_place_of_the_old_one_is_heard(tmp_path):
    home = story(Home(tmp_path / "one"))
    other = story(Home(tmp_path / "two"))
    with serve(home.settings()) as served, served.client() as client:
        home.close(), other.close()
        for file in home.data.glob("hearthwatch.db*"):
            file.unlink()
        for file in other.data.glob("hearthwatch.db*"):
            file.rename(home.data / file.name)
        wait_for(lambda: client.get("/api/events").json()["count"] == 5)
        home.open()
        home.base, home.batching.due = other.base, -1
        event = home.picture("Front Door", -500, "dog")
        assert until(client, event)["type"] == "event.opened"
    home.close()


def until(client, event):
    """The first message about this event, by a browser that comes back whenever it is let go."""
    while True:
        with client.stream("GET", "/api/live", params={"after": 0}) as stream:
            for _, kind, data in sse(stream.iter_lines()):
                if kind == "event" and data["event_id"] == event:
                    return data


@pytest.mark.slow
def test_a_server_that_is_killed_costs_no_listener_a_message(tmp_path):
    home = story(Home(tmp_path))
    port = free_port()
    ends = [1 << 62]

    async def one():
        """As a browser does it: come back with the last id."""
        got = [0]
        while got[-1] < ends[0]:
            try:
                async for id, event in heard(port, got[-1]):
                    got += [id] if event == "event" else []
                    if got[-1] >= ends[0]:
                        break
            except OSError:
                await asyncio.sleep(0.02)  # as a browser waits before it comes back
        return got[1:]

    async def listeners():
        return await asyncio.gather(*(one() for _ in range(20)))

    with ThreadPoolExecutor(1) as pool, httpx.Client(trust_env=False) as probe:
        running = pool.submit(asyncio.run, asyncio.wait_for(listeners(), 60))
        for _ in range(3):
            server = start(home, HEARTHWATCH_API_PORT=str(port))
            try:
                wait_for(lambda: alive(probe, f"http://127.0.0.1:{port}"))
                more(home, 3)
                wanted = [message["seq"] for message in feed(home)]
                if _ == 2:
                    ends[0] = wanted[-1]
                    results = running.result(60)
            finally:
                server.kill()
                server.communicate()
    assert len(wanted) >= 18 and all(result == wanted for result in results)
    home.close()


def alive(client, url):
    try:
        return client.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False
