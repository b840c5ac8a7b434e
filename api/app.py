"""Build the ASGI application: the read API and the page.

It works while no pipeline runs and before a record exists: then lists are empty and health says so. Routes are functions
on a few threads, each thread with its own connection to the record.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from hearthwatch.api import models
from hearthwatch.api.dependencies import THREADS, AppState
from hearthwatch.api.file_serving import FileRefused
from hearthwatch.api.routes import cameras, detections, events, feedback, history, incidents, live, media, page, system
from hearthwatch.api.security import COOKIE, PUBLIC_PATHS, AccessMiddleware, ForwardedMiddleware, redact
from hearthwatch.record import RecordError
from hearthwatch.schemas.settings import Settings
from hearthwatch.schemas.text import product_version

DESCRIPTION = """Cameras, events with their verdicts, detections, pictures, health; live over Server-Sent Events or WebSocket.
Times are ISO 8601 in UTC. With `HEARTHWATCH_API_TOKEN` set, send `Authorization: Bearer …`."""

TAGS = [
    {"name": "events", "description": "What happened, and its risk."},
    {"name": "feedback", "description": "What you answered about events, and what was learned from it."},
    {"name": "cameras", "description": "One for each folder below the upload tree."},
    {"name": "detections", "description": "Boxes, in pixels of the original picture."},
    {"name": "history", "description": "All pictures by time, what each day had, search."},
    {"name": "media", "description": "Uploads and thumbnails."},
    {"name": "live", "description": "New messages of the feed."},
    {"name": "system", "description": "Health, the ledger, quarantined pictures."},
]


SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "`HEARTHWATCH_API_TOKEN`; without one set, nothing is needed."},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Of `POST /api/session`, for browsers."},
    "signed": {"type": "apiKey", "in": "query", "name": "sig", "description": "Of `POST /api/session/signed-url`: GET of one path."},
}  # fmt: skip


class Api(FastAPI):
    """FastAPI whose OpenAPI document has an example of each model, made of those of its fields; a response has all its keys."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            document = super().openapi()
            schemas = document["components"]["schemas"]
            for schema in schemas.values():
                schema["examples"] = [make_example(schema, schemas)]
            document["components"]["securitySchemes"] = SECURITY
            document["security"] = [{name: []} for name in SECURITY]
            for path, operations in document["paths"].items():
                if path in (*PUBLIC_PATHS, "/api/feedback/{token}"):
                    for operation in operations.values():
                        operation["security"] = []
        return super().openapi()


def make_example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Make an example of a JSON schema: what its fields give as theirs, else the first value that they allow."""
    match schema:
        case {"examples": [given, *_]} | {"const": given} | {"enum": [given, *_]}:
            return given
        case {"$ref": name}:
            return make_example(schemas[name.rpartition("/")[2]], schemas)
        case {"anyOf": [kind, *_]}:
            return make_example(kind, schemas)
        case {"type": "array", "items": kind}:
            return [make_example(kind, schemas)]
        case {"properties": fields}:
            return {name: make_example(field, schemas) for name, field in fields.items()}
    return {"integer": 1, "number": 1.0, "boolean": False, "object": {}}.get(schema["type"])


def create(settings: Settings) -> FastAPI:
    """Create the application for these settings. It opens nothing before it is started."""
    state = AppState(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await state.hub.start()
        yield
        state.close()

    app = Api(
        title="Hearthwatch", version=product_version(), description=DESCRIPTION, openapi_tags=TAGS, lifespan=lifespan,
        docs_url=None, redoc_url=None, redirect_slashes=False, generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    app.state.app_state = state
    for module in (page, events, feedback, incidents, history, cameras, detections, media, live, system):
        app.include_router(module.router, responses=models.COMMON_ERRORS)
    app.mount("/static", page.Static())
    app.add_middleware(AccessMiddleware, settings=settings)
    if settings.hearthwatch_cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.hearthwatch_cors_origins, allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
        )  # fmt: skip
    if settings.hearthwatch_api_forwarded:
        app.add_middleware(ForwardedMiddleware, trusted_hosts=list(settings.hearthwatch_api_forwarded))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(FileRefused, _refused)
    for error_type in (RecordError, sqlite3.Error):
        app.add_exception_handler(error_type, _unavailable)
    return app


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": [redact(item) for item in error.errors()]}, 422)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, FileRefused)
    return error.response()


async def _unavailable(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": f"the record cannot be used now: {error}"}, 503, {"retry-after": "5"})
