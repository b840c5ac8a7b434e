"""Promise: a question has one answer that was asked for by schema, or a reason that says who is to blame. Nothing else."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hearthwatch.stages.llm_client import FAILURES_MAX, Breaker, Client, Failed, Permanent, Unavailable, Wrong, content
from tests.support.llm_server import Standin

SCHEMA = {"type": "object", "properties": {"risk_score": {"type": "integer", "minimum": 0, "maximum": 100}}}
QUESTION = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "{}"}]


def ask(url, timeout_seconds=20.0, **options):
    async def once():
        client = Client(url, timeout_seconds=timeout_seconds, **options)
        try:
            return await client.ask(QUESTION, SCHEMA)
        finally:
            await client.close()

    return asyncio.run(once())


@contextmanager
def raw_server(body):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("url", ["{}", "{}/", "{}/v1", "{}/v1/"])
def test_a_question_is_asked_as_vllm_wants_it(url):
    with Standin() as server:
        assert ask(url.format(server.url)) == {"risk_score": 20}
    (asked,) = server.questions
    assert asked["response_format"]["json_schema"]["schema"] == SCHEMA
    assert (asked["temperature"], asked["max_tokens"], asked["model"]) == (0, 400, "nemotron")
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    assert not {"seed", "guided_json", "stream"} & set(asked)


@pytest.mark.parametrize(
    ("word", "kind", "says"),
    [
        (503, Unavailable, "answers 503"), (429, Unavailable, "busy"), (408, Unavailable, "408"), (425, Unavailable, "425"),
        (404, Unavailable, "do NEMOTRON_URL and HEARTHWATCH_NEMOTRON_MODEL"), (401, Unavailable, "401"), (307, Unavailable, "307"),
        (500, Failed, "answers 500"), ("drop", Failed, "connection broke"), ("half", Failed, "connection broke"),
        (400, Permanent, "answers 400"), (422, Permanent, "as the script says"),
        ("truncate", Wrong, "finish_reason = 'length'"), ("garbage", Wrong, "no JSON"), ("prose", Wrong, "no JSON"),
        ("array", Wrong, "no JSON object"),
    ],
)  # fmt: skip
def test_every_way_to_fail_says_who_is_to_blame(word, kind, says):
    with (
        Standin([word]) as server,
        pytest.raises(Failed if kind is not Unavailable else Unavailable, match=says) as error,
    ):
        ask(server.url)
    assert error.type is kind


@pytest.mark.parametrize("word", ["hang", "drip", "slow:9"])
def test_what_takes_too_long_is_no_answer(word):
    with Standin([word]) as server, pytest.raises(Failed, match=r"no answer within 0\.3 s") as error:
        ask(server.url, timeout_seconds=0.3)
    assert error.type is Failed


def test_a_web_page_in_place_of_an_answer_is_a_server_to_wait_for():
    with (
        raw_server(b"\n<!DOCTYPE html><html>502</html>") as url,
        pytest.raises(Unavailable, match="answers a web page"),
    ):
        ask(url)


def test_a_server_that_is_not_there_is_unavailable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="cannot be reached"):
            ask(f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_another_model_than_the_one_that_is_served_is_a_matter_of_settings():
    with Standin(model="nemotron-nano") as server, pytest.raises(Unavailable, match="for model `nemotron`"):
        ask(server.url)


def test_a_password_in_the_url_is_not_told():
    with Standin([500]) as server, pytest.raises(Failed) as error:
        ask(server.url.replace("//", "//me:secret@"))
    assert "secret" not in str(error.value) and "***" in str(error.value)


@pytest.mark.parametrize(
    "answer",
    [b"", b"null", b"{}", b'{"choices": []}', b"[" * 100_000, b'{"choices": [{"finish_reason": "stop", "message": {"content": null}}]}', b"\xff"],
)  # fmt: skip
def test_no_answer_however_odd_is_more_than_wrong(answer):
    with pytest.raises(Wrong):
        content(answer)


def test_raw_control_characters_in_a_string_are_read():
    """Some grammars let them through; the text is cleaned where it is used."""
    choice = {"finish_reason": "stop", "message": {"content": '{"summary": "a\tb"}'}}
    assert content(json.dumps({"choices": [choice]}).encode()) == {"summary": "a\tb"}


def probe(url, wanted):
    async def once():
        client = Client(url, timeout_seconds=2)
        try:
            return await getattr(client, wanted)()
        finally:
            await client.close()

    return asyncio.run(once())


@pytest.mark.parametrize(
    ("word", "enforced"), [("ok", True), ("prose", False), ({"word": "hello"}, False), (400, False)]
)
def test_a_server_that_ignores_schemas_is_found_out(word, enforced):
    with Standin([word]) as server:
        assert probe(server.url, "enforces_schemas") is enforced


def test_signs_of_life():
    with Standin() as server:
        assert probe(server.url, "is_alive")
    assert not probe(server.url, "is_alive")


# -- the breaker


def test_one_refused_connection_is_enough_to_wait():
    breaker = Breaker()
    breaker.record_failure(Unavailable("gone"))
    assert breaker.capacity(8) == 0
    breaker.record_probe(alive=False)
    assert breaker.capacity(8) == 0
    breaker.record_probe(alive=True)
    assert breaker.capacity(8) == 1  # one goes first
    breaker.record_success()
    assert breaker.capacity(8) == 8


def test_questions_that_fail_close_the_door_only_in_a_row():
    breaker = Breaker()
    for _ in range(3 * FAILURES_MAX):
        breaker.record_failure(Failed("500"))
        breaker.record_failure(Wrong("prose: but the server works"))
    assert breaker.capacity(8) == 8
    for _ in range(FAILURES_MAX):
        assert breaker.capacity(8) == 8
        breaker.record_failure(Failed("500"))
    assert breaker.capacity(8) == 0


def test_a_server_that_fails_again_is_looked_at_more_and_more_patiently():
    breaker = Breaker()
    for trips in range(1, 4):
        breaker.record_failure(Unavailable("gone"))
        assert breaker.trips == trips
        breaker.record_probe(alive=True)
    breaker.record_success()
    assert breaker.trips == 0
