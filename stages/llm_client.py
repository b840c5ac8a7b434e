"""Ask a language model behind vLLM's chat completions: one question, one JSON object that follows a schema, or an error.

The three errors differ in their cause. `Unavailable`: the server or the settings; the question may be asked again.
`Failed`: maybe the question, so it counts as an attempt. `Permanent`: surely the question. Nothing is retried here;
`Breaker` decides when not to ask at all. Starts no thread; one event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from base64 import b64encode
from io import BytesIO
from typing import Any, Literal

import httpx
from PIL import Image, ImageDraw

from hearthwatch.schemas.settings import masked

log = logging.getLogger(__name__)

ANSWER_TOKENS_MAX = 400  # a verdict has about 150; a model that rambles is cut off
PICTURES_TOKENS_MAX = 800  # with what it saw in each picture
ANSWER_BYTES_MAX = 1_000_000
CONNECT_SECONDS = 5.0
PROBE_WORDS = 24  # a model that guesses finds the right one in 4 % of the probes
PICTURE_PROBE_SECONDS = 30.0  # the first picture after a start may be slow
READS = {True: "reads pictures", False: "reads no pictures", None: "has not shown in time whether it reads pictures"}
PROBE_SECONDS = 5.0  # for an answer to the probe, which costs the server nothing
KEEPALIVE_SECONDS = (
    4.0  # below the 5 s after which vLLM's web server hangs up, so that we never write into a closed one
)
FAILURES_MAX = 5  # in a row, of questions that may be the cause; a refused connection needs no second one

BUSY = {408, 425, 429, 502, 503, 504}
MISCONFIGURED = {301, 302, 307, 308, 401, 403, 404, 405, 407}


class NemotronError(Exception):
    """No answer; the text says why."""


class Unavailable(NemotronError):  # noqa: N818  (what became of a question, not a fault of the program)
    """The server cannot be reached, is busy, or is not the one that the settings mean."""


class Failed(NemotronError):  # noqa: N818
    """No answer in time, a broken connection, an error of the server: maybe because of this question."""


class Wrong(Failed):
    """The server works, and the answer is none."""


class Permanent(Wrong):
    """The server works, and refuses this very question."""


class Answer(dict[str, Any]):
    """The JSON object that a model wrote, and the tokens that it took."""

    usage: dict[str, int]


class Breaker:
    """A circuit breaker. `closed`: ask; `open`: do not, until a probe succeeds; `half`: one question."""

    def __init__(self) -> None:
        self.state: Literal["closed", "open", "half"] = "closed"
        self.failures = 0
        self.trips = 0
        """How often in a row it opened, or a probe failed: the pause before the next probe grows with it."""

    def capacity(self, concurrency: int) -> int:
        """How many questions may be in flight."""
        return {"closed": concurrency, "half": 1, "open": 0}[self.state]

    def record_success(self) -> None:
        """Close: the server works, whatever the answer is."""
        self.state, self.failures, self.trips = "closed", 0, 0

    def record_failure(self, error: NemotronError) -> None:
        if isinstance(error, Wrong):
            return self.record_success()
        self.failures += 1
        if self.state != "open" and (
            isinstance(error, Unavailable) or self.state == "half" or self.failures >= FAILURES_MAX
        ):
            self.state = "open"
            self.trips += 1
        return None

    def record_probe(self, alive: bool) -> None:
        """Allow one question if the server answered a probe."""
        if self.state == "open" and alive:
            self.state = "half"
        elif self.state == "open":
            self.trips += 1


class Client:
    """One server, one model, connections kept alive. Not for several event loops."""

    def __init__(self, url: str, model: str = "nemotron", timeout_seconds: float = 60.0, concurrency: int = 8) -> None:
        self.base = url.rstrip("/").removesuffix("/v1").rstrip("/")
        self.name = masked("NEMOTRON_URL", self.base)
        self.model, self.timeout_seconds = model, timeout_seconds
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),  # the whole exchange has one deadline instead
            limits=httpx.Limits(max_connections=concurrency + 1, keepalive_expiry=KEEPALIVE_SECONDS),
        )

    async def ask(
        self, messages: list[dict[str, Any]], schema: dict[str, Any], tokens_max: int = ANSWER_TOKENS_MAX
    ) -> Answer:
        """Return the parsed answer; the caller checks that it fits the schema.

        Raises:
            NemotronError: one of its kinds.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": tokens_max,
            "chat_template_kwargs": {"enable_thinking": False},
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            },
        }
        try:
            async with asyncio.timeout(self.timeout_seconds):
                status, answer = await self._exchange(body)
        except TimeoutError:
            raise Failed(f"{self.name}: no answer within {self.timeout_seconds:g} s") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unavailable(f"{self.name} cannot be reached: {str(error) or type(error).__name__}") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Failed(
                f"{self.name}: the connection broke before the answer was complete: {str(error) or type(error).__name__}"
            ) from None
        if status != 200:
            raise self._refusal(status, answer[:300].decode(errors="replace"))
        if answer.lstrip()[:1] == b"<":  # of a proxy or router before it: the question is not at fault
            raise Unavailable(f"{self.name} answers a web page: {answer[:120].decode(errors='replace')!r}")
        return content(answer)

    async def _exchange(self, body: dict[str, Any]) -> tuple[int, bytes]:
        async with self._http.stream("POST", f"{self.base}/v1/chat/completions", json=body) as response:
            answer = bytearray()
            async for piece in response.aiter_bytes():
                answer += piece
                if len(answer) > ANSWER_BYTES_MAX:
                    raise Wrong(f"{self.name}: an answer of more than {ANSWER_BYTES_MAX} bytes")
            return response.status_code, bytes(answer)

    def _refusal(self, status: int, text: str) -> NemotronError:
        if status in BUSY:
            return Unavailable(f"{self.name} is busy or starting: it answers {status}")
        if status in MISCONFIGURED:
            return Unavailable(
                f"{self.name} answers {status} for model `{self.model}`: {text!r}; do NEMOTRON_URL and HEARTHWATCH_NEMOTRON_MODEL say what runs there?"
            )
        kind = Permanent if 400 <= status < 500 else Failed
        return kind(f"{self.name} answers {status}: {text!r}")

    async def is_alive(self) -> bool:
        """Whether an OpenAI-compatible server answers there."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                response = await self._http.get(f"{self.base}/v1/models")
        except (TimeoutError, httpx.HTTPError):
            return False
        return response.status_code < 500

    async def enforces_schemas(self) -> bool:
        """Whether the server keeps the model to a schema: a random word that only the schema knows has to come back."""
        word = secrets.token_hex(6)
        schema = {
            "type": "object",
            "properties": {"word": {"type": "string", "enum": [word]}},
            "required": ["word"],
            "additionalProperties": False,
        }
        try:
            answer = await self.ask([{"role": "user", "content": "Say hello, in JSON."}], schema)
        except Failed as error:
            log.debug("the server's answer to the schema probe: %s", error)
            return False
        return answer == {"word": word}

    async def reads_pictures(self, seconds: float = PICTURE_PROBE_SECONDS) -> bool | None:
        """Whether the model can read pictures: it has to find the word of a picture among others; None: it gave no answer.

        Raises:
            Unavailable: the server cannot be asked.
        """
        words = [secrets.token_hex(3).upper() for _ in range(PROBE_WORDS)]
        schema = {
            "type": "object",
            "properties": {"word": {"type": "string", "enum": words}},
            "required": ["word"],
            "additionalProperties": False,
        }
        ask = {"type": "text", "text": f"Which word is in this picture? One of {', '.join(words)}. Answer in JSON."}
        picture = {
            "type": "image_url",
            "image_url": {"url": f"data:image/jpeg;base64,{b64encode(draw_word(words[0])).decode()}"},
        }
        try:
            async with asyncio.timeout(seconds):
                answer = await self.ask([{"role": "user", "content": [ask, picture]}], schema)
        except (TimeoutError, Failed) as error:
            log.info("%s: the picture probe failed: %s", self.name, str(error) or type(error).__name__)
            return False if isinstance(error, Wrong) else None
        return answer == {"word": words[0]}

    async def close(self) -> None:
        await self._http.aclose()


def content(answer: bytes) -> Answer:
    """Read the JSON object that the model wrote.

    Raises:
        Wrong: there is none.
    """
    try:
        whole = json.loads(answer)
        choice = whole["choices"][0]
        finish, message = choice["finish_reason"], choice["message"]
        # A reasoning parser that does not fit the model takes the whole answer for its thoughts.
        text = message["content"] or message.get("reasoning") or message.get("reasoning_content")
    except (ValueError, LookupError, TypeError, RecursionError):
        raise Wrong(f"an answer that is no chat completion: {answer[:120].decode(errors='replace')!r}") from None
    if finish != "stop":
        raise Wrong(f"the answer is cut off: finish_reason = {str(finish)[:120]!r}")
    try:
        # Not strict: some grammars let raw tabs and line breaks into bounded strings.
        written = json.loads(text, strict=False)
    except (ValueError, TypeError, RecursionError):
        raise Wrong(f"the model wrote no JSON: {str(text)[:120]!r}") from None
    if not isinstance(written, dict):
        raise Wrong(f"the model wrote no JSON object: {str(text)[:120]!r}")
    kept = Answer(written)
    kept.usage = read_usage(whole.get("usage"))
    return kept


def draw_word(word: str) -> bytes:
    """Draw a JPEG of a word, black on white, large enough for any vision model."""
    picture, out = Image.new("RGB", (448, 224), "white"), BytesIO()
    ImageDraw.Draw(picture).text((224, 112), word, fill="black", font_size=96, anchor="mm")
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def read_usage(usage: object) -> dict[str, int]:
    """Return how many tokens were read, of them from the server's cache, and written; what it does not say is left out."""
    given = usage if isinstance(usage, dict) else {}
    details = given.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    found = {"prompt": given.get("prompt_tokens"), "cached": cached, "answer": given.get("completion_tokens")}
    return {name: n for name, n in found.items() if type(n) is int}
