"""The read API and the page as one ASGI application.

Works whether or not a pipeline runs, and before there is a record: then lists are empty and health says so. Routes are
plain functions on a few threads, each with its own connection to the record.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from hearthwatch.api import models
from hearthwatch.api.dependencies import THREADS, Here
from hearthwatch.api.file_serving import Refused
from hearthwatch.api.routes import cameras, detections, events, live, media, page, system
from hearthwatch.api.security import Gate, plain
from hearthwatch.record import RecordError
from hearthwatch.schemas.settings import Settings

DESCRIPTION = """Cameras, events with their verdicts, detections, pictures, health; live over Server-Sent Events or WebSocket.
Times are ISO 8601 in UTC. With `HEARTHWATCH_API_TOKEN` set, send `Authorization: Bearer …`."""

TAGS = [
    {"name": "events", "description": "What happened, and how bad it is."},
    {"name": "cameras", "description": "One for each folder below the upload tree."},
    {"name": "detections", "description": "Boxes, in pixels of the original picture."},
    {"name": "media", "description": "Uploads and thumbnails."},
    {"name": "live", "description": "The feed as it grows."},
    {"name": "system", "description": "Health, the ledger, what could not be read."},
]


def product_version() -> str:
    try:
        return version("hearthwatch")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"


class Api(FastAPI):
    """FastAPI whose document keeps the nulls of examples: an answer has all its keys, always."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            schemas = super().openapi()["components"]["schemas"]
            for model in models.family():
                if model.__name__ in schemas:
                    schemas[model.__name__] |= model.model_config.get("json_schema_extra", {})
        return super().openapi()


def create(settings: Settings) -> FastAPI:
    """The application for these settings. Opens nothing before it is started."""
    here = Here(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await here.hub.start()
        yield
        here.close()

    app = Api(
        title="Hearthwatch", version=product_version(), description=DESCRIPTION, openapi_tags=TAGS, lifespan=lifespan,
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.here = here
    for part in (page, events, cameras, detections, media, live, system):
        app.include_router(part.router, responses=models.ALWAYS)
    app.mount("/static", page.Static())
    app.add_middleware(Gate, settings=settings)
    if settings.hearthwatch_cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.hearthwatch_cors_origins, allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
        )  # fmt: skip
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Refused, _refused)
    for broken in (RecordError, sqlite3.Error):
        app.add_exception_handler(broken, _unavailable)
    return app


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": [plain(item) for item in error.errors()]}, 422)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _unavailable(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": f"the record cannot be used now: {error}"}, 503, {"retry-after": "5"})
