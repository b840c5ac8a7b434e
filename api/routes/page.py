"""Routes of the page, its files, the browser's session and the API's documentation."""

from __future__ import annotations

import asyncio
import html
import time
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from hearthwatch.api import models
from hearthwatch.api.connections import client_address
from hearthwatch.api.dependencies import State
from hearthwatch.api.security import COOKIE, SESSION_SECONDS, SIGNED_SECONDS, Session

router = APIRouter()

STATIC = Path(__file__).resolve().parents[1] / "static"
NO_CACHE = {"cache-control": "no-cache"}


class Static(StaticFiles):
    """The page's files; a browser revalidates them each time, so an update of Hearthwatch updates the page."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC, check_dir=False)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(NO_CACHE)
        if path == "offline.js":  # it may answer for the page, which is above its folder
            response.headers["service-worker-allowed"] = "../"
        return response


@router.get("/health", tags=["system"], response_model=models.OkResponse)
async def health() -> Response:
    """Respond if this server runs; nothing is probed."""
    return JSONResponse({"status": "ok"})


@router.get("/", tags=["system"], response_model=models.OkResponse)
async def root(request: Request) -> Response:
    """Get the page for a browser, else `{"status":"ok"}`."""
    if "text/html" in request.headers.get("accept", "") and (STATIC / "index.html").is_file():
        return FileResponse(STATIC / "index.html", headers={**NO_CACHE, "vary": "accept"})
    return JSONResponse({"status": "ok"}, headers={"vary": "accept"})


@router.post(
    "/api/session", tags=["system"], response_model=models.OkResponse, responses=models.INVALID | models.TOO_MANY
)
async def begin_session(state: State, body: models.SessionRequest, request: Request) -> Response:
    """Exchange the token for a cookie that scripts cannot read. After wrong tokens a client's next attempt waits for seconds."""
    session, attempts = Session(state.settings.hearthwatch_api_token), state.session_attempts
    client = client_address(request.client)
    if wait := attempts.wait_seconds(client, time.monotonic()):
        await asyncio.sleep(wait)
    if wait := attempts.wait_seconds(client, time.monotonic()):  # another attempt of this client was first
        raise HTTPException(
            429, "too many attempts from this address: try again later", {"retry-after": str(ceil(wait))}
        )
    if not session.is_token(body.token):
        attempts.failed(client, time.monotonic())
        raise HTTPException(401, "the token is wrong", {"www-authenticate": "Bearer"})
    attempts.succeeded(client)
    response = JSONResponse({"status": "ok"})
    is_secure = request.url.scheme == "https"
    # a page of another site that shows this one in a frame: browsers send no other cookie there, and none without TLS
    is_framed = is_secure and bool(state.settings.hearthwatch_frame_ancestors)
    if session.token is not None:
        response.set_cookie(
            COOKIE,
            session.cookie(time.time()),
            SESSION_SECONDS,
            httponly=True,
            samesite="none" if is_framed else "strict",
            secure=is_secure,
        )
        if is_framed:  # `partitioned=` needs Python 3.14
            response.headers["set-cookie"] += "; Partitioned"
    return response


@router.post(
    "/api/session/signed-url", tags=["system"], response_model=models.SignedUrl, responses=models.INVALID,
)  # fmt: skip
async def sign_url(state: State, body: models.SignedUrlRequest) -> Response:
    """Sign a path of this API for a quarter of an hour, for what cannot send a token: a browser's live feed, a picture, a player."""
    signature, now = Session(state.settings.hearthwatch_api_token), time.time()
    ends = datetime.fromtimestamp(int(now) + SIGNED_SECONDS, UTC)
    return JSONResponse(
        {"url": f"{body.path}?{signature.sign(unquote(body.path), now)}", "ends_at": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}
    )


@router.delete("/api/session", tags=["system"], status_code=204)
async def end_session() -> Response:
    """Delete the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Show the OpenAPI document as HTML, without scripts or files from other servers."""
    return HTMLResponse(render_openapi(request.app.openapi()))


def render_openapi(api: dict[str, Any]) -> str:
    """Render an OpenAPI document as plain HTML."""
    text = [
        f"<p>{html.escape(api['info']['description'])}</p><p>For programs: <a href='openapi.json'>openapi.json</a></p>"
    ]
    for tag in api["tags"]:
        text.append(f"<h2>{tag['name']}</h2><p>{html.escape(tag['description'])}</p>")
        for path, methods in api["paths"].items():
            text += [
                _route(method, path, route) for method, route in methods.items() if tag["name"] in route.get("tags", ())
            ]
    title = html.escape(f"{api['info']['title']} {api['info']['version']}")
    head = f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{title} API</title>"
    return f"{head}<h1>{title}: OpenAPI</h1>{''.join(text)}</html>"


def _route(method: str, path: str, route: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{html.escape(p['name'])}</code> {html.escape(p.get('description', ''))}</li>"
        for p in route.get("parameters", ())
    )
    responses = ", ".join(
        f"{code} {html.escape(response['description'])}" for code, response in route["responses"].items()
    )
    return (
        f"<h3><code>{method.upper()} {html.escape(path)}</code></h3><p>{html.escape(route.get('description', ''))}</p>"
        f"<ul>{parameters}</ul><p>{responses}</p>"
    )
