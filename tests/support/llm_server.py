"""A server that speaks vLLM's protocol on a real socket, for tests: slow, broken and wrong on demand, never clever.

    with Standin(["drop", 500, "slow:2"]) as server:      # one word per question, then "ok"
        ...; server.questions                             # what was asked, parsed

Words: `ok`, a status number, `slow:SECONDS` (then ok), `hang` (until the server ends), `drop` (hangs up), `half` (hangs up in
the middle of the answer), `drip` (a byte now and then), `truncate` (finish_reason length), `garbage` (a fenced block), `prose`, `array`, or a dict: that
is the answer, or a function of the question that returns it; `null` (content is null, the answer in `reasoning`). With
`pictures` it takes pictures, and finds the word of a probe by comparing it with how each word looks; else it answers 400 to them. Like vLLM it ignores fields that it does not know, and it keeps to the schema it was given: enums are echoed.
"""

import base64
import json
import random
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hearthwatch.stages.llm_client import draw_word


def instance(schema, text=""):
    """A small value that fits; strings are an opinion, scores are `score=NN` of the question's text, else 20."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: instance(part, text) for name, part in schema["properties"].items()}
        case "array":
            return [instance(schema["items"], text)] * schema.get("minItems", 0)
        case "boolean":
            return False
        case "integer":
            said = re.search(r"score=(\d+)", text)
            return int(said[1]) if said else max(20, schema.get("minimum", 0))
    return "Nothing speaks for a risk."


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # hanging up is part of the game


class Standin:
    """Answers `script` word by word, then `otherwise`; with `failing`, that share of the rest is a 500."""

    def __init__(
        self,
        script=(),
        *,
        otherwise="ok",
        model="nemotron",
        port=0,
        seconds=(0.0, 0.0),
        failing=0.0,
        seed=1,
        pictures=False,
    ):
        self.script, self.otherwise, self.model = list(script), otherwise, model
        self.seconds, self.failing, self.random = seconds, failing, random.Random(seed)
        self.questions, self.most_at_once, self._now = [], 0, 0
        self.looks, self.probes, self.pictures = 0, 0, pictures
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.changed = threading.Condition(self.lock)
        self.server = Server(("127.0.0.1", port), self._handler())
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def deaf(self):
        """From now on connections are taken by the kernel and by nobody else."""
        self.server.shutdown()

    def wait_for(self, questions, seconds=20):
        """Until so many questions have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.questions) >= questions, seconds), len(self.questions)
        return self

    def _next(self, question):
        with self.changed:
            self.questions.append(question)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self.changed.notify_all()
            if self.script:
                return self.script.pop(0), 0.0
            if self.random.random() < self.failing:
                return 500, self.random.uniform(*self.seconds)
            return self.otherwise, self.random.uniform(*self.seconds)

    def _done(self):
        with self.lock:
            self._now -= 1

    def _handler(standin):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def log_message(self, *words):
                pass

            def reply(self, status, body, cut=False):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self.hang_up()

            def drip(self):
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                while not standin.ended.wait(0.05):
                    self.wfile.write(b" ")

            def hang_up(self):
                self.close_connection = True
                self.wfile.flush()
                self.connection.close()

            def do_GET(self):
                standin.looks += 1
                if self.path == "/v1/models":
                    return self.reply(200, {"object": "list", "data": [{"id": standin.model, "object": "model"}]})
                return self.reply(200 if self.path == "/health" else 404, {})

            def do_POST(self):
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if images(question) and "word" in schema_of(question)["properties"]:
                    standin.probes += 1
                    return self.reply(*probed(question, standin.pictures))
                word, seconds = standin._next(question)
                if str(word).startswith("slow:"):
                    word, seconds = "ok", float(word[5:])
                away = standin.ended.wait(1e6 if word == "hang" else seconds) if seconds or word == "hang" else False
                standin._done()  # before the answer, which the next question may follow at once
                return self.hang_up() if away else self.answer(question, word)

            def answer(self, question, word):
                if word == "drop":
                    return self.hang_up()
                if word == "drip":
                    return self.drip()
                if isinstance(word, int):
                    return self.reply(word, {"error": {"message": "as the script says", "type": "X", "code": word}})
                if self.path != "/v1/chat/completions" or question.get("model") != standin.model:
                    return self.reply(
                        404, {"error": {"message": f"The model `{question.get('model')}` does not exist."}}
                    )
                if images(question) and not standin.pictures:
                    return self.reply(400, NOT_MULTIMODAL)
                return self.reply(200, completion(question, word), cut=word == "half")

        return Handler


NOT_MULTIMODAL = {"error": {"message": "nemotron is not a multimodal model", "type": "BadRequestError", "code": 400}}


def schema_of(question):
    return question.get("response_format", {}).get("json_schema", {}).get("schema") or {"properties": {}}


def images(question):
    """The pictures of a question, as bytes."""
    parts = question["messages"][-1]["content"]
    urls = [p["image_url"]["url"] for p in parts if p["type"] == "image_url"] if isinstance(parts, list) else []
    return [base64.b64decode(url.removeprefix("data:image/jpeg;base64,"), validate=True) for url in urls]


def text_of(question):
    """All that a question says in words."""
    parts = question["messages"][-1]["content"]
    return parts if isinstance(parts, str) else "\n".join(p["text"] for p in parts if p["type"] == "text")


def probed(question, pictures):
    words = schema_of(question)["properties"]["word"]["enum"]
    if not pictures:
        return 400, NOT_MULTIMODAL
    read = next(word for word in words if draw_word(word) == images(question)[0])
    return 200, completion(question, {"word": read if pictures != "blind" else words[-1]})


def completion(question, word):
    """What vLLM answers; `guided_json` and other fields of old are ignored, as vLLM ignores them."""
    schema = question.get("response_format", {}).get("json_schema", {}).get("schema")
    asked = text_of(question)
    word = word(question) if callable(word) else word
    text = (
        json.dumps(word if isinstance(word, dict) else instance(schema, asked)) if schema else "Hello! How can I help?"
    )
    finish = "stop"
    match word:
        case "truncate":
            text, finish = text[: len(text) // 2], "length"
        case "garbage":
            text = f"```json\n{text}\n```"
        case "prose":
            text = "The risk is about 50, I would say."
        case "array":
            text = "[1, 2]"
    message = {"role": "assistant", "content": text, "reasoning": None, "tool_calls": []}
    if word == "null":
        message |= {"content": None, "reasoning": text}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": int(time.time()), "model": question.get("model"),
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}},
    }  # fmt: skip
