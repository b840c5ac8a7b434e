"""Items and component bases: all that a plug-in needs to import."""

if __name__ != "hearthwatch.schemas":
    raise ImportError("import hearthwatch.schemas: the rooms of Hearthwatch are imported by this name only")

from hearthwatch.schemas.case import Case, Facts, Surroundings, Term
from hearthwatch.schemas.components import (
    Component,
    Consumer,
    ConsumerWorker,
    Job,
    JobWorker,
    Mirror,
    Poller,
    Sink,
    Source,
    Stage,
    StageWorker,
)
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import (
    DUPLICATE,
    Alert,
    DeadLetter,
    Detected,
    Detection,
    Event,
    Frame,
    Incident,
    Reject,
    RiskLevel,
    Tick,
    Upload,
    Verdict,
    risk_level,
)
from hearthwatch.schemas.messages import IncidentMessage, ItemMessage, Message, SystemMessage

__all__ = [
    "DUPLICATE",
    "Alert",
    "Case",
    "Component",
    "Consumer",
    "ConsumerWorker",
    "Context",
    "DeadLetter",
    "Detected",
    "Detection",
    "Event",
    "Facts",
    "Frame",
    "Incident",
    "IncidentMessage",
    "ItemMessage",
    "Job",
    "JobWorker",
    "Message",
    "Mirror",
    "Poller",
    "Reject",
    "RiskLevel",
    "Sink",
    "Source",
    "Stage",
    "StageWorker",
    "Surroundings",
    "SystemMessage",
    "Term",
    "Tick",
    "Upload",
    "Verdict",
    "risk_level",
]
