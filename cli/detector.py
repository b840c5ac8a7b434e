"""`hearthwatch detector`: a service that detects in the pictures of several pipelines and hosts, on this machine's device.

`POST /detect`, a picture as multipart field `file`, responds `{"detections": [{"class", "confidence", "bbox": {"x", "y",
"width", "height"}}]}` with every box of SCORE_MIN and more, doubled ones too: what counts is each client's choice. Pictures
of all clients share batches (`hearthwatch.gpu.batch_queue`). A picture that cannot be decoded is a 400 that says why; beyond
what may wait there is a 503 with `Retry-After`. Nothing is stored: what gets no response is sent again by its client.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import Annotated, Any

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hearthwatch.api.security import Session, open_host_mistake
from hearthwatch.api.server import listen, uvicorn_options
from hearthwatch.gpu import DetectorError, StoppedError
from hearthwatch.gpu.batch_queue import BatchQueue
from hearthwatch.gpu.decode import BYTES_MAX, open_picture
from hearthwatch.gpu.detector import Detector, InferenceResult
from hearthwatch.gpu.loading import BackgroundLoader
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Detection, has_failed
from hearthwatch.schemas.settings import settings

log = logging.getLogger(__name__)

SCORE_MIN = 0.05  # no client's threshold is lower; r18 has 5 to 30 such boxes in a picture
BATCHES_WAITING, PICTURES_MIN = 4, 16  # pictures in the service at most: so many batches, and at least so many pictures
BYTES_WAITING_MAX = 1_000_000_000  # of files and pixels; 160 pictures of 1080p
RETRY_SECONDS = 1
BATCH_SECONDS_MAX = 1.0  # for a batch that is being processed, after the server has waited three seconds for it
HEADERS_BYTES_MAX = 10_000  # of the form around a picture
HOST = typer.Option(help="Address to listen on; any but a loopback address needs HEARTHWATCH_DETECTOR_TOKEN.")
MODEL = typer.Option(help="A hub id, a folder or `yard`; else HEARTHWATCH_DETECTOR_MODEL.")


def detector(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8001,
    host: Annotated[str, HOST] = "127.0.0.1",
    model: Annotated[str | None, MODEL] = None,
) -> None:
    """Serve the detector of this machine to other pipelines and hosts, at whose RTDETR_URL it is."""
    chosen = settings()
    token = chosen.hearthwatch_detector_token
    if mistake := open_host_mistake(host, token, "--host", "HEARTHWATCH_DETECTOR_TOKEN", "use this detector"):
        raise UserError(mistake)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _exit)
    with listen(host, port, "--host", "--port") as listening:  # who connects now waits until the model is loaded
        loader = BackgroundLoader(partial(_load, model or chosen.hearthwatch_detector_model))
        loaded = loader.loaded.result()
        for warning in loaded.warnings:
            log.warning("%s", warning)
        server = DetectorServer(loaded, token)
        print(f"detecting at http://{host}:{port} with {loaded.describe()}", flush=True)
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            server.service.queue.join(BATCH_SECONDS_MAX)  # a thread that computes while Python ends would crash
    if failure := server.service.queue.failure:
        print(failure, file=sys.stderr)
        raise typer.Exit(1)


def _load(model: str) -> Detector:
    chosen = settings()
    return Detector(
        model, chosen.hearthwatch_device, SCORE_MIN, unique_iou=None, batch_max=chosen.hearthwatch_detect_batch_max,
        runtime=chosen.hearthwatch_detector_runtime, size=chosen.hearthwatch_detector_size,
    )  # fmt: skip


def _exit(sig: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


class DetectorService:
    """The ASGI application for a detector."""

    def __init__(self, detector: Detector, token: str | None, on_failure: Callable[[], None]) -> None:
        self.detector, self.session = detector, Session(token)
        self.queue = BatchQueue([detector], on_failure)
        self.pictures_max = max(PICTURES_MIN, BATCHES_WAITING * detector.batch_max)
        self.pictures = self.bytes = 0
        """In this service now."""
        self._decoders = ThreadPoolExecutor(os.cpu_count(), "decode")
        self.app = Starlette(
            routes=[Route("/detect", self.detect, methods=["POST"]), Route("/health", self.health)],
            exception_handlers={HTTPException: _explain, ClientDisconnect: _explain},
        )

    async def health(self, request: Request) -> Response:
        """Say what detects here, and how busy it is; 503: nothing does any more."""
        queue, failure = self.queue, self.queue.failure
        known: dict[str, Any] = {"status": str(failure) if failure else "ok", "detector": self.detector.describe()}
        known |= {"details": self.detector.details(), "pictures": queue.pictures, "batches": queue.batches}
        return JSONResponse(
            known | {"waiting": self.pictures, "waiting_max": self.pictures_max}, 503 if failure else 200
        )

    async def detect(self, request: Request) -> Response:
        """Detect in a picture."""
        self._authorize(request)
        is_full = self.pictures >= self.pictures_max or self.bytes >= BYTES_WAITING_MAX
        held: list[int] = []
        self.pictures += 1
        try:
            body = await self._read(request, is_full)
            held.append(len(body))
            self.bytes += len(body)
            decode = partial(open_picture, "", data=picture_of(request.headers.get("content-type", ""), body))
            decoded = await asyncio.get_running_loop().run_in_executor(self._decoders, decode)
            if decoded.error and has_failed(decoded.error):
                raise HTTPException(400, decoded.error.reason)
            held.append(decoded.nbytes)
            self.bytes += decoded.nbytes
            found = await _unless_hung_up(asyncio.wrap_future(self.queue.submit(decoded)), request)
        finally:
            self.pictures -= 1
            self.bytes -= sum(held)
        if found.error:
            raise HTTPException(400, found.error)
        return JSONResponse({"detections": [_row(one) for one in found.detections]})

    async def _read(self, request: Request, is_full: bool) -> bytes:
        """Read the body, of a refused request too: who is still sending would not see the refusal."""
        body, length = [], 0
        async for piece in request.stream():
            length += len(piece)
            if length > BYTES_MAX + HEADERS_BYTES_MAX:
                raise HTTPException(413, f"a picture may have {BYTES_MAX} bytes")
            if not is_full:
                body.append(piece)
        if is_full:
            raise HTTPException(503, f"busy: {self.pictures_max} pictures wait", {"retry-after": str(RETRY_SECONDS)})
        return b"".join(body)

    def _authorize(self, request: Request) -> None:
        """Refuse who has no token, and pages in a browser, which could send pictures to any port of its machine."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":  # as HTTP clients send `http://token@host`
            with contextlib.suppress(ValueError):
                given = base64.b64decode(given).decode("latin-1").strip(":")
        if not self.session.is_token(given.strip()):
            raise HTTPException(401, "a token is needed: RTDETR_URL=http://TOKEN@host:port, or Authorization: Bearer …")
        if "origin" in request.headers:
            raise HTTPException(403, "a web page may not do this")


class DetectorServer(uvicorn.Server):
    """Stops within three seconds: what waits is refused, the batch that is being processed gets its response."""

    def __init__(self, detector: Detector, token: str | None) -> None:
        self.service = DetectorService(detector, token, self.fail)
        super().__init__(
            uvicorn.Config(self.service.app, ws="none", log_level="warning", timeout_keep_alive=10, **uvicorn_options())
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.queue.stop()
        super().handle_exit(sig, frame)

    def fail(self) -> None:
        self.should_exit = True


async def _unless_hung_up(found: asyncio.Future[InferenceResult], request: Request) -> InferenceResult:
    """Wait for a result; a client that hangs up, such as one whose time is over, gives its place to others."""
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((found, gone), return_when=asyncio.FIRST_COMPLETED)
        if not found.done():
            raise ClientDisconnect
        return found.result()
    except (StoppedError, DetectorError) as error:
        raise HTTPException(503, str(error)) from None
    finally:
        found.cancel()
        gone.cancel()


def picture_of(content_type: str, body: bytes) -> bytes:
    """Return the content of the field `file` of a multipart form.

    Raises:
        HTTPException: there is none.
    """
    boundary = re.search(r'multipart/form-data;.*boundary="?([^";,]+)', content_type, re.IGNORECASE)
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode("latin-1")) if boundary else []
    for part in parts[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        if re.search(rb'[; ]name="?file"?\s*(;|$)', head, re.MULTILINE):
            return content
    raise HTTPException(
        400, "send the picture as field `file` of a multipart form, such as `curl -F file=@picture.jpg`"
    )


def _row(one: Detection) -> dict[str, Any]:
    box = dict(zip(("x", "y", "width", "height"), one.bbox, strict=True))
    return {"class": one.object_type, "confidence": one.confidence, "bbox": box}


async def _explain(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return Response(status_code=400)  # the client has hung up
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
