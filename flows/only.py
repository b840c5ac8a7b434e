"""`only = {type = "event.opened", risk_level = ["high", "critical"]}`: which events or messages a node wants to see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from hearthwatch.schemas.items import (
    Analyzer,
    Event,
    EventType,
    IncidentType,
    RiskLevel,
)
from hearthwatch.schemas.messages import FeedMessage, IncidentMessage, ItemMessage, Message, SystemKind, SystemMessage
from hearthwatch.schemas.text import did_you_mean

FIELDS: dict[str, Callable[[Event], Sequence[str]]] = {
    "type": lambda event: (event.type,),
    "risk_level": lambda event: (event.verdict.risk_level,),
    "camera_id": lambda event: (event.camera_id,),
    "camera_name": lambda event: (event.camera_name,),
    "analyzer": lambda event: (event.verdict.analyzer,),
    "object": lambda event: tuple(event.objects),
}
TYPES = (*get_args(EventType), *get_args(IncidentType), *(f"system.{kind}" for kind in get_args(SystemKind)))
VALUES = {"type": TYPES, "risk_level": get_args(RiskLevel), "analyzer": get_args(Analyzer)}


def wants(only: Mapping[str, Any], item: Event | FeedMessage) -> bool:
    """Whether each field has one of the values asked for; of `object`, whether one was seen.

    An incident has several cameras, of which one has to be asked for, and no analyzer. A system message has a type and, some
    of them, a camera; an item has a type, `item.<node>`. What else is asked for is about events.
    """
    if isinstance(item, ItemMessage):
        return item.type in as_tuple(only.get("type", item.type))
    if isinstance(item, SystemMessage):
        own = {"type": item.type, "camera_id": item.camera_id}
        return all(field not in own or own[field] in as_tuple(asked) for field, asked in only.items())
    if isinstance(item, IncidentMessage):
        seen = _fields_of_incident(item)
        return all(
            field not in seen or any(value in as_tuple(asked) for value in seen[field]) for field, asked in only.items()
        )
    event = item.event if isinstance(item, Message) else item
    return all(any(value in as_tuple(asked) for value in FIELDS[field](event)) for field, asked in only.items())


def _fields_of_incident(message: IncidentMessage) -> dict[str, tuple[str, ...]]:
    incident = message.incident
    return {
        "type": (message.type,),
        "risk_level": (incident.risk_level,),
        "camera_id": incident.cameras,
        "camera_name": incident.camera_names,
        "object": tuple(incident.objects),
    }


def as_tuple(asked: Any) -> tuple[Any, ...]:
    """Return a list as a tuple; a single value stands for a list of one."""
    return tuple(asked) if isinstance(asked, list | tuple | set | frozenset) else (asked,)


def mistakes(only: object) -> Iterator[str]:
    """Yield what is wrong with an `only`."""
    if not isinstance(only, Mapping):
        yield f'`only` is {only!r}: write a table such as `only = {{ risk_level = ["high", "critical"] }}`'
        return
    for field, asked in only.items():
        if field not in FIELDS:
            yield f"`only` has no field `{field}`{did_you_mean(field, FIELDS) or '.'} It knows {', '.join(FIELDS)}."
            continue
        for value in as_tuple(asked):
            if not isinstance(value, str):
                yield f"`only.{field}` = {value!r} has to be text"
            elif field in VALUES and value not in VALUES[field] and not (field == "type" and value.startswith("item.")):
                yield f"`only.{field}` = {value!r} is none of {', '.join(VALUES[field])}{did_you_mean(value, VALUES[field])}"
