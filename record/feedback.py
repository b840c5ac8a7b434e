"""Learn from the owner's answers about events: `fine`, `nothing_there`, `right`.

An answer is a row, written in the transaction that marks its event as reviewed. It holds for alike events (`Signature`, the
hour give or take one) that start after it, counts less every day, and nothing after `DAYS` or once it is revoked. Which
answers hold follows from an event's start alone, so a replay gives the same verdict, whatever was answered since.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Literal

from hearthwatch.record import Record
from hearthwatch.record.suppression import STRAY_IOU, iou
from hearthwatch.record.units import BOXES_OF_FRAME, DAY
from hearthwatch.schemas.case import Signature, Term
from hearthwatch.schemas.items import from_microseconds, iso

Answer = Literal["fine", "nothing_there", "right"]

DAYS = 90  # after which an answer has expired
GHOST_DAYS = 14  # after which a place where a vision model saw nothing counts again
PRIOR = 2.5  # answers of each kind that are assumed: a Beta(2.5, 2.5), which is even
SCALE = 72  # points from even to certain: one `fine` gives −6, five −18
POINTS_MIN, POINTS_MAX = -25, 10
BOXES_MAX = 1000  # of an event, the surest, say where nothing was: 60 ms at most

_STANDING = "at <= ?1 AND expires_at > ?1 AND coalesce(revoked_at > ?1, 1)"
"""An answer that holds for an event that started at this time."""
_OWN = "AND source = 'owner'"


class FeedbackError(Exception):
    """An answer that cannot be taken; the text says why."""


Answered = tuple[Signature, str, float]
"""Which events it is about, the answer, and its weight: 1 on its day, 0 when it expires."""


def write_answer(record: Record, event: int, answer: Answer, at: int, *, once: bool = False) -> int | None:
    """Write an answer instead of the event's earlier one and mark the event as reviewed; its id, or None: there is no such event.

    The gravest event of an incident speaks for the whole of it.

    Raises:
        FeedbackError: this is the answer already (`once`: there was any), or the event says nothing to learn from.
    """

    def write() -> int | None:
        published = "id = ? AND status <> 'merged' AND risk_level IS NOT NULL"
        row = record.one(f"SELECT signature FROM events WHERE {published}", event)
        if row is None:
            return None
        given = record.rows(
            f"SELECT answer, revoked_at FROM feedback WHERE event_id = ? {_OWN} ORDER BY id DESC", event
        )
        if given and (once or given[0] == (answer, None)):
            raise FeedbackError(f"event {event} is answered already: {given[0][0].replace('_', ' ')}")
        if row[0] is None:
            raise FeedbackError(f"event {event} was judged by an older version, which did not note what it is like")
        places = _find_places(record, event, json.loads(row[0])["kind"]) if answer == "nothing_there" else []
        record.execute("UPDATE feedback SET revoked_at = ? WHERE event_id = ? AND revoked_at IS NULL", at, event)
        id = record.execute(
            "INSERT INTO feedback(event_id, at, answer, signature, expires_at, box) VALUES (?,?,?,?,?,?)",
            event, at, answer, row[0], at + DAYS * DAY, json.dumps(places) if places else None,
        ).lastrowid  # fmt: skip
        whole = "SELECT i.id FROM events e JOIN incidents i ON i.id = e.incident_id AND i.gravest_event_id = e.id WHERE e.id = ?1"
        record.execute(f"UPDATE events SET reviewed = 1 WHERE id = ?1 OR incident_id = ({whole})", event)
        return id

    return record.transact(write)


def note_ghosts(record: Record, event: int, verdict: str | None, at: int) -> None:
    """Hold back boxes where a vision model saw nothing, instead of where it did before in this event; inside a transaction.

    An answer of the owner about the event stands, or comes to stand, above it.
    """
    sql = "UPDATE feedback SET revoked_at = ? WHERE event_id = ? AND source = 'pictures' AND revoked_at IS NULL"
    record.execute(sql, at, event)
    signature, last = record.one("SELECT signature, last_at FROM events WHERE id = ?", event)
    is_old = last + GHOST_DAYS * DAY <= at
    if verdict != "rejected" or signature is None or is_old or last_answer(record, event):
        return
    if places := _find_places(record, event, json.loads(signature)["kind"]):
        record.execute(
            "INSERT INTO feedback(event_id, at, answer, signature, expires_at, box, source) VALUES (?,?,'nothing_there',?,?,?,'pictures')",
            event, at, signature, min(at, last) + GHOST_DAYS * DAY, json.dumps(places),
        )  # fmt: skip


def _find_places(record: Record, event: int, kind: str) -> list[list[float]]:
    """Return where objects of this kind stayed: mean boxes; if none stayed, the place of the surest one.

    A place is what overlaps with its surest box. What stays has three boxes there or more, over half of the event's time, in a quarter
    of its pictures: what walks, also to and fro, is nowhere so often.
    """
    boxes = record.rows(
        f"SELECT f.captured_at, d.bbox_x, d.bbox_y, d.bbox_width, d.bbox_height FROM frames f JOIN detections d ON {BOXES_OF_FRAME} "
        "WHERE f.event_id = ? AND d.object_type = ? ORDER BY d.confidence DESC, d.id LIMIT ?", event, kind, BOXES_MAX,
    )  # fmt: skip
    places: list[list[tuple[float, ...]]] = []
    for box in boxes:
        same = next((place for place in places if iou(place[0][1:], box[1:]) >= STRAY_IOU), None)
        places.append([box]) if same is None else same.append(box)
    times = sorted({at for at, *_ in boxes})

    def stays(place: Sequence[tuple[float, ...]]) -> bool:
        at = [at for at, *_ in place]
        return 2 * (max(at) - min(at)) >= times[-1] - times[0] and len(at) >= max(3, len(times) / 4)

    found = [place for place in places if stays(place)] or places[:1]
    return [[sum(values) / len(place) for values in list(zip(*place, strict=True))[1:]] for place in found]


def last_answer(record: Record, event: int, *, stands: bool = True) -> str | None:
    """Return the last answer about an event, unless it `stands` no more; None: there is none."""
    row = record.one(f"SELECT answer, revoked_at FROM feedback WHERE event_id = ? {_OWN} ORDER BY id DESC", event)
    return str(row[0]) if row and not (stands and row[1]) else None


def revoke(record: Record, id: int, at: int) -> bool:
    """Revoke an answer: it holds for no event from now on; False if there is none that stands."""
    sql = "UPDATE feedback SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
    return record.transact(lambda: record.execute(sql, at, id).rowcount > 0)


def delete_ended(record: Record, at: int) -> None:
    """Delete the answers that ended by `at`, whose event is deleted, and by which no event is judged that is left."""
    sql = (
        "DELETE FROM feedback WHERE id IN (SELECT f.id FROM (SELECT *, min(expires_at, coalesce(revoked_at, expires_at)) AS until "
        "FROM feedback) f WHERE until <= ? AND NOT EXISTS (SELECT 1 FROM events WHERE id = f.event_id) AND NOT EXISTS (SELECT 1 FROM events e "
        "WHERE e.camera_id = json_extract(signature, '$.camera_id') AND status <> 'merged' AND started_at >= f.at AND started_at < until))"
    )
    record.transact(lambda: record.execute(sql, at))


def learned_at(record: Record, camera: str, at: int) -> partial[Term | None]:
    """Return what gives the term for what the owner answered before an event of this camera that started at `at`."""
    rows = record.rows(
        "SELECT signature, answer, (expires_at - ?1) * 1.0 / (expires_at - at) FROM feedback "
        f"WHERE json_extract(signature, '$.camera_id') = ?2 AND {_STANDING} AND answer <> 'nothing_there' ORDER BY id",
        at, camera,
    )  # fmt: skip
    return partial(learned, tuple((Signature(**json.loads(text)), answer, weight) for text, answer, weight in rows))


def learned(answers: Sequence[Answered], signature: Signature) -> Term | None:
    """Return the term that these answers give an event like this: how far their Beta–binomial mean is from even."""
    alike = [(given, weight) for other, given, weight in answers if _is_alike(other, signature)]
    fine, right = (sum(weight for given, weight in alike if given == kind) for kind in ("fine", "right"))
    points = round(SCALE * (0.5 - (PRIOR + fine) / (2 * PRIOR + fine + right)))
    count = sum(given == "fine" for given, _ in alike)
    why = f"you called {count} of {len(alike)} such visit{'s' * (len(alike) > 1)} fine"
    return Term(min(POINTS_MAX, max(POINTS_MIN, points)), why) if points else None


def _is_alike(a: Signature, b: Signature) -> bool:
    return a._replace(hour=b.hour) == b and (a.hour - b.hour + 1) % 24 <= 2


def list_answers(record: Record, at: int, id: int | None = None) -> list[dict[str, Any]]:
    """Read the answers that stand at `at`, the newest first, each with the term that such an event would get now."""
    rows = record.dicts(
        f"SELECT id, event_id, answer, signature, expires_at, source FROM feedback WHERE {_STANDING} AND id = coalesce(?2, id) "
        "ORDER BY id DESC", at, id,
    )  # fmt: skip
    names, of_camera = dict(record.rows("SELECT id, name FROM cameras")), lru_cache(partial(learned_at, record, at=at))
    for row in rows:
        signature = Signature(**json.loads(row["signature"]))
        is_ghost, name = row["answer"] == "nothing_there", names.get(signature.camera_id, signature.camera_id)
        term = None if is_ghost else of_camera(signature.camera_id)(signature)
        row |= {
            "points": term.points if term else 0,
            "why": term and term.why,
            "expires_at": iso(from_microseconds(row["expires_at"])),
        }
        who = "the pictures showed nothing" if row["source"] == "pictures" else "nothing was"
        row["signature"] = f"{signature.kind} at {name}, where {who}" if is_ghost else describe(signature, name)
    return rows


def describe(signature: Signature, camera: str) -> str:
    """`person from the own door at Front door, private, 07–10 h on workdays`."""
    hour, door = signature.hour, " from the own door" * signature.from_own_door
    place = f", {signature.place.replace('_', ' ')}" if signature.place else ""
    hours = f"{(hour - 1) % 24:02}–{(hour + 2) % 24:02} h on {'workdays' if signature.workday else 'free days'}"
    return f"{signature.kind}{door} at {camera}{place}, {hours}"
