"""Routes of what the owner answers about events, and what was learned from it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Response

from hearthwatch.api import models
from hearthwatch.api.dependencies import State, json_response
from hearthwatch.api.params import EventId
from hearthwatch.api.routes.events import ID_MAX, in_range, not_found
from hearthwatch.record import feedback, now
from hearthwatch.record.read import lineage

router = APIRouter(tags=["feedback"])


@router.post(
    "/api/events/{event_id}/feedback", response_model=models.FeedbackResponse, status_code=201,
    responses=models.EVENT_NOT_FOUND | models.CONFLICT | models.INVALID,
)  # fmt: skip
def answer_event(state: State, event_id: EventId, body: models.FeedbackRequest) -> Response:
    """Answer what an event was. It replaces the event's earlier answer, marks it as reviewed, and holds for such events that start later."""
    at = now()
    try:
        id = in_range(event_id) and state.write(lambda r: feedback.write_answer(r, event_id, body.answer, at))
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


@router.delete("/api/feedback/{feedback_id}", status_code=204, responses=models.NOT_FOUND)
def revoke_feedback(
    state: State, feedback_id: Annotated[int, Path(description="The answer's id.", ge=0, lt=ID_MAX, examples=[3])]
) -> Response:
    """Revoke an answer: events that start from now on are judged as if it had never been given."""
    if not state.write(lambda record: feedback.revoke(record, feedback_id, now())):
        return not_found("Feedback", feedback_id, None)
    return Response(status_code=204)
