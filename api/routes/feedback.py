"""Routes of what the owner answers about events, and what was learned from it."""

from __future__ import annotations

import html
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.responses import HTMLResponse

from hearthwatch.api import models
from hearthwatch.api.dependencies import State, json_response
from hearthwatch.api.params import EventId
from hearthwatch.api.routes.events import ID_MAX, in_range, not_found
from hearthwatch.record import feedback, now
from hearthwatch.record.baselines import summarize_baselines
from hearthwatch.record.read import events, lineage
from hearthwatch.record.signed_links import read_token

router = APIRouter(tags=["feedback"])


@router.post(
    "/api/events/{event_id}/feedback", response_model=models.FeedbackResponse, status_code=201,
    responses=models.EVENT_NOT_FOUND | models.CONFLICT | models.INVALID,
)  # fmt: skip
def answer_event(state: State, event_id: EventId, body: models.FeedbackRequest) -> Response:
    """Answer what an event was. It replaces the event's earlier answer, marks it as reviewed, and holds for such events that start later."""
    at = now()
    try:
        id = in_range(event_id) and state.answer(event_id, body.answer, at)
    except feedback.FeedbackError as refused:
        raise HTTPException(409, str(refused)) from None
    with state.reader.snapshot() as record:
        if not id:
            return not_found("Event", event_id, in_range(event_id) and lineage.merged_into(record, event_id))
        return json_response(feedback.list_answers(record, at, id)[0], 201)


@router.get("/api/feedback", response_model=models.FeedbackList)
def list_feedback(state: State) -> Response:
    """List the answers that stand, and what such an event gets for them now."""
    with state.reader.snapshot() as record:
        return json_response({"feedback": feedback.list_answers(record, now())})


@router.get("/api/baselines", response_model=models.Baselines)
def list_baselines(state: State) -> Response:
    """List what is normal for each camera, as it was counted last."""
    with state.reader.snapshot() as record:
        return json_response({"baselines": summarize_baselines(record)})


@router.delete("/api/feedback/{feedback_id}", status_code=204, responses=models.NOT_FOUND)
def revoke_feedback(
    state: State, feedback_id: Annotated[int, Path(description="The answer's id.", ge=0, lt=ID_MAX, examples=[3])]
) -> Response:
    """Revoke an answer: events that start from now on are judged as if it had never been given."""
    if not state.write(lambda record: feedback.revoke(record, feedback_id, now())):
        return not_found("Feedback", feedback_id, None)
    return Response(status_code=204)


# -- signed links of notifications

Token = Annotated[str, Path(description="The signed part of a notification's link.", max_length=200)]
_PAGE, _ERROR = (
    {"content": {kind: {"schema": schema}}}
    for kind, schema in (("text/html", {"type": "string"}), ("application/json", {"$ref": "#/components/schemas/ErrorResponse"}))
)  # fmt: skip
_ERRORS = models.COMMON_ERRORS | models.INVALID
LINK_ERRORS: models.Responses = {code: _ERROR | {"description": _ERRORS[code]["description"]} for code in _ERRORS} | {
    404: _PAGE | {"description": "Not genuine."},
    409: _PAGE | {"description": "Answered already."},
    410: _PAGE | {"description": "The link has expired."},
}


@router.get("/api/feedback/{token}", name="show_answer_link", response_class=HTMLResponse, responses=LINK_ERRORS)
@router.post("/api/feedback/{token}", response_class=HTMLResponse, responses=LINK_ERRORS)
def follow_answer_link(state: State, token: Token, request: Request) -> HTMLResponse:
    """Answer as the link says, once; no API token is needed. GET only shows a button: messengers open links to preview them."""
    at = now()
    link = read_token(state.settings.hearthwatch_data_dir, token, at)
    if link is None:
        return _page(404, "This is not a link of this Hearthwatch.")
    event, answer, is_expired = link
    if is_expired:
        return _page(410, "This link has expired: answer on the page.")
    try:
        if request.method == "POST" and state.answer(event, answer, at, once=True):
            return _page(201, f"Answered: {answer.replace('_', ' ')}. Thank you.")
    except feedback.FeedbackError as error:
        return _page(409, f"{error}.")
    with state.reader.snapshot() as record:
        found, given = events.event(record, event), feedback.last_answer(record, event, stands=False)
    if given or not found:
        return (
            _page(409, f"Answered already: {given.replace('_', ' ')}.")
            if given
            else _page(404, "This event was deleted.")
        )
    return _page(200, found["summary"], answer.replace("_", " ").capitalize())


def _page(status: int, text: str, button: str = "") -> HTMLResponse:
    """Show a sentence, and a button that sends the same address as a POST."""
    form = f"<form method='post'><button class='main'>{button}</button></form>" if button else ""
    return HTMLResponse(
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>Hearthwatch</title>"
        "<meta name='color-scheme' content='dark light'><link rel='stylesheet' href='../../static/app.css'>"
        f"<main class='answer'><h1>Hearthwatch</h1><p>{html.escape(text)}</p>{form}</main></html>", status,
    )  # fmt: skip
