"""Detect through an RT-DETR service over HTTP: `POST {url}/detect`, one picture a request, on a separate thread.

Nothing is lost: while the service is unavailable (no connection, timeout, no token, anything but 200 or 4xx) a picture is
sent again until there is a response, so a result may take without limit; `stop` ends the wait. A 4xx or an invalid response
is that picture's error. Connections are kept and used again; results keep the order whichever service responds first.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING

import httpx
import numpy as np
from PIL import Image

from hearthwatch.gpu import StoppedError
from hearthwatch.gpu.boxes import UNIQUE_IOU, Corners, DetectionFilter, canonical_label
from hearthwatch.gpu.detector import InferenceResult
from hearthwatch.schemas.context import QUESTIONS_STOP_SECONDS_MAX
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Detection
from hearthwatch.schemas.probe import probe_http
from hearthwatch.schemas.settings import masked

if TYPE_CHECKING:
    from hearthwatch.gpu.decode import DecodedPicture

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30.0  # for a whole request
PAUSES_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)  # between attempts, the last one from then on
REQUESTS_MAX = 4  # in flight, unless an option says more; one is processed, the others are on the network
CLOSED = (
    httpx.ReadError,
    httpx.RemoteProtocolError,
    httpx.WriteError,
)  # perhaps only a kept connection: tried again at once
NO_PICTURES_FAULT = (401, 403, 408, 425, 429)  # of 4xx: the token, the network, too many at a time
BUSY = (429, 503)
BUSY_SECONDS = 0.05  # before the second attempt, twice as long before each other, up to what the service asks for
RESPONSE_BYTES_MAX = 4_000_000  # 300 boxes are 40 kB


class InvalidResponseError(Exception):
    """Why the response to a picture is invalid."""


class RemoteDetector:
    """A client of one service."""

    def __init__(
        self,
        url: str,
        confidence: float = 0.5,
        object_types: Sequence[str] = ("*",),
        unique_iou: float | None = UNIQUE_IOU,
        requests_max: int = REQUESTS_MAX,
        pauses_seconds: Sequence[float] = PAUSES_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.url = url.rstrip("/")
        self.name = masked("RTDETR_URL", self.url)
        self.model = f"rtdetr at {self.name}"
        self.warnings: tuple[str, ...] = ()
        # As in this process: 0.7 is met by the float32 next to it, which is a little less.
        low = min(confidence, float(np.float32(confidence)))
        self.filter = DetectionFilter(low, frozenset(map(canonical_label, object_types)), unique_iou)
        self._pauses, self._timeout = tuple(pauses_seconds), timeout_seconds
        self.problem: str | None = None
        """Why the service is unavailable."""
        self._loop = asyncio.new_event_loop()
        self._client = httpx.AsyncClient(limits=httpx.Limits(max_connections=requests_max), timeout=timeout_seconds)
        self._slots = asyncio.Semaphore(requests_max)
        self._stopped = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote detector", daemon=True)
        self._thread.start()

    def describe(self) -> str:
        """Return one line for logs and health."""
        return f"the RT-DETR service at {self.name}"

    def submit(self, decoded: DecodedPicture) -> Future[InferenceResult]:
        """Send a picture as soon as there is a free connection. `stop` cancels the future."""
        return asyncio.run_coroutine_threadsafe(self._detect_one(decoded), self._loop)

    def infer(self, decoded: Sequence[DecodedPicture]) -> list[InferenceResult]:
        """Detect in pictures; wait as long as the service is unavailable.

        Raises:
            StoppedError: `stop` was called.
        """
        if self._stopped:
            raise StoppedError(f"{self.describe()} is not used any more: stopped")
        try:
            return [result.result() for result in [self.submit(one) for one in decoded]]
        except CancelledError:
            raise StoppedError(f"stopped while waiting for {self.describe()}") from None

    def stop(self) -> None:
        """Cancel what is waiting. Fit for a signal handler."""
        self._stopped = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def close(self) -> None:
        """Close the connections."""
        self.stop()
        if self._thread.is_alive():
            wait([asyncio.run_coroutine_threadsafe(self._close(), self._loop)], QUESTIONS_STOP_SECONDS_MAX)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(QUESTIONS_STOP_SECONDS_MAX)
            if not self._thread.is_alive():
                self._loop.close()

    # -- on the loop

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()

    async def _detect_one(self, decoded: DecodedPicture) -> InferenceResult:
        if self._stopped:
            raise asyncio.CancelledError
        async with self._slots:
            return await self._detect_now(decoded)

    async def _detect_now(self, decoded: DecodedPicture) -> InferenceResult:
        began = time.perf_counter()
        file = _file_part(decoded)
        try:
            body = await self._request(file)
            found, error = parse_detections(body, self.filter, decoded.width, decoded.height), None
        except InvalidResponseError as reason:
            found, error = (), f"{self.name}: {reason}"
        return InferenceResult(found, error, (time.perf_counter() - began) * 1e3)

    async def _request(self, file: tuple[str, bytes, str]) -> bytes:
        for attempt in count():
            pause = self._pauses[min(attempt, len(self._pauses) - 1)]
            try:
                async with asyncio.timeout(self._timeout):
                    response, body = await self._post(file)
                status = response.status_code
                if status == 200 and not body.lstrip().startswith(b"<"):
                    self._report_available()
                    return body
                if status == 200:  # of a proxy or router before it: the picture is not at fault
                    self._report_unavailable(f"it answers a web page: {body[:80].decode(errors='replace')!r}")
                elif status in BUSY and (seconds := response.headers.get("retry-after", "")).isdigit():
                    self._report_available()
                    pause = min(float(seconds), self._pauses[-1], BUSY_SECONDS * 2 ** min(attempt, 16))
                elif 400 <= status < 500 and status not in NO_PICTURES_FAULT:
                    self._report_available()
                    raise InvalidResponseError(f"answered {status}: {body[:200].decode(errors='replace')!r}")
                else:
                    self._report_unavailable(f"it answers {status}")
            except TimeoutError:
                self._report_unavailable(f"no answer within {self._timeout:g} s")
            except httpx.TransportError as error:
                if attempt == 0 and isinstance(error, CLOSED):
                    continue
                self._report_unavailable(str(error) or type(error).__name__)
            except httpx.DecodingError as error:
                raise InvalidResponseError(f"answered with a body that cannot be unpacked: {error}") from None
            await asyncio.sleep(pause)
        raise AssertionError("an endless loop")

    async def _post(self, file: tuple[str, bytes, str]) -> tuple[httpx.Response, bytes]:
        async with self._client.stream("POST", f"{self.url}/detect", files={"file": file}) as response:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > RESPONSE_BYTES_MAX:
                    raise InvalidResponseError(f"answered with more than {RESPONSE_BYTES_MAX} bytes")
            return response, bytes(body)

    def _report_unavailable(self, why: str) -> None:
        if not self.problem:
            log.warning("%s is unavailable (%s): pictures wait and are sent again", self.describe(), why)
        self.problem = why

    def _report_available(self) -> None:
        if self.problem:
            self.problem = None
            log.info("%s is available again", self.describe())


def probe_detector(url: str) -> str:
    """Have the service detect in one picture; returns what it does, in words.

    Raises:
        UserError: it does not respond, or not as an RT-DETR service.
    """
    name, picture = masked("RTDETR_URL", url), BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 60)).save(picture, "JPEG")
    try:
        response = probe_http("POST", f"{url}/detect", files={"file": ("probe.jpg", picture.getvalue(), "image/jpeg")})
        parse_detections(response.content, DetectionFilter(0.0, frozenset("*"), None), 64, 48)
    except UserError as error:
        raise UserError(f"{name}: {error}: start the service, or unset RTDETR_URL to detect here") from None
    except InvalidResponseError as error:
        raise UserError(f"{name} {error}: is it an RT-DETR service?") from None
    return f"{name} detects"


def parse_detections(body: bytes, accept: DetectionFilter, width: int, height: int) -> tuple[Detection, ...]:
    """Parse the response for a picture of this size into the detections that count.

    Raises:
        InvalidResponseError: it is not JSON, or not of the promised shape.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidResponseError(f"answered 200 with no JSON: {body[:80].decode(errors='replace')!r}") from None
    rows = answer.get("detections") if isinstance(answer, Mapping) else None
    if not isinstance(rows, list):
        raise InvalidResponseError(f"answered without a list of detections: {_excerpt(answer)}")
    found = []
    for row in rows:
        label, score, corners = _parse_row(row)
        name = accept.accepted_label(label)
        if name is None or score < accept.confidence:
            continue
        if not (corners[0] < corners[2] and corners[1] < corners[3]):
            raise InvalidResponseError(f"answered with a box that has no area: {_excerpt(row)}")
        if corners[2] <= 0 or corners[3] <= 0 or corners[0] >= width or corners[1] >= height:
            raise InvalidResponseError(f"answered with a box outside the picture of {width}x{height}: {_excerpt(row)}")
        found.append((name, score, corners))
    return accept.select(found, width, height)


def _parse_row(row: object) -> tuple[str, float, Corners]:
    """`{"class", "confidence", "bbox": {"x","y","width","height"} | [x, y, w, h]}` -> label, score, corners"""
    match row:
        case {"class": str(label), "confidence": score, "bbox": {"x": x, "y": y, "width": width, "height": height}}:
            pass
        case {"class": str(label), "confidence": score, "bbox": [x, y, width, height]}:
            pass
        case _:
            raise _not_a_detection(row)
    try:
        score, x, y, width, height = map(_finite, (score, x, y, width, height))
    except (TypeError, OverflowError):
        raise _not_a_detection(row) from None
    if not 0 <= score <= 1:
        raise _not_a_detection(row)
    return label, score, (x, y, x + width, y + height)


def _not_a_detection(row: object) -> InvalidResponseError:
    return InvalidResponseError(
        f"answered with an invalid detection: {_excerpt(row)}; it needs a class, a confidence from 0 to 1 and a bbox "
        "of x, y, width, height"
    )


def _excerpt(value: object) -> str:
    """Shorten a value for an error message; always printable (JSON may hold lone surrogates)."""
    return repr(value)[:120]


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(value)
    return float(value)


def _file_part(decoded: DecodedPicture) -> tuple[str, bytes, str]:
    """Return (file name, bytes, type) as uploaded; one that was turned upright or cut short is encoded again, without loss."""
    data = decoded.data
    if not data or decoded.is_turned or decoded.error:
        buffer = BytesIO()
        decoded.picture().save(buffer, "PNG", compress_level=1)
        data = buffer.getvalue()
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"picture.{kind}", data, f"image/{kind}"
