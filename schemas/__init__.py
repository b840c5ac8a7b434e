"""Items and component bases: all that a plug-in needs to import."""

if __name__ != "hearthwatch.schemas":
    raise ImportError("import hearthwatch.schemas: the rooms of Hearthwatch are imported by this name only")

from hearthwatch.schemas.components import Component, Consumer, Sink, Source, Stage
from hearthwatch.schemas.items import (
    DUPLICATE,
    DeadLetter,
    Detected,
    Detection,
    Event,
    Frame,
    Message,
    Reject,
    RiskLevel,
    Tick,
    Upload,
    Verdict,
    risk_level,
)

__all__ = [
    "DUPLICATE",
    "Component",
    "Consumer",
    "DeadLetter",
    "Detected",
    "Detection",
    "Event",
    "Frame",
    "Message",
    "Reject",
    "RiskLevel",
    "Sink",
    "Source",
    "Stage",
    "Tick",
    "Upload",
    "Verdict",
    "risk_level",
]
