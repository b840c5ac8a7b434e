"""One node of a graph: a name, a component, where its items come from, and which of them it wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hearthwatch.schemas import Component, Consumer, Event, Job, Stage
from hearthwatch.schemas.case import Case

FLOW = "hearthwatch"  # the dataflow's id: a recovery store belongs to it, so it never changes
ERRORS = "errors"  # `from = "detect.errors"`: what failed in a stage


def types(accepts: type | tuple[type, ...]) -> tuple[type, ...]:
    """Return what a component accepts, always as a tuple."""
    return accepts if isinstance(accepts, tuple) else (accepts,)


def name_of(kind: type | None) -> str:
    """Return a type's name for a message."""
    return "nothing" if kind is None else kind.__name__


@dataclass(frozen=True)
class Node:
    """`component` is None where its options are wrong, `kind` where there is no such component."""

    name: str
    use: str
    kind: type[Component] | None
    component: Component | None
    after: tuple[str, ...] = ()
    only: Mapping[str, Any] | None = None
    where: Callable[[str], str] = field(default=lambda key: "", repr=False, compare=False)
    """The file and line of one of its keys, in front of a message."""

    def __str__(self) -> str:
        return self.at("")

    def at(self, key: str) -> str:
        """Name this node, and the line of its key, at the start of a message."""
        return f"{self.where(key)}{self.name} ({self.use})"

    def label(self) -> str:
        """Say what the drawn graph says about it; quotes would end Mermaid's own."""
        assert self.component is not None
        return self.component.label().replace('"', "'") + (", off" if self.off() else "")

    def off(self) -> str | None:
        """Why this node does nothing; None: it works."""
        return getattr(self.component, "off", lambda: None)()

    def upstream(self) -> tuple[str, ...]:
        """Return the names of the nodes it reads, without their ports."""
        return tuple(name.partition(".")[0] for name in self.after)

    def is_kind(self, *kinds: type) -> bool:
        """Whether its component is of one of these kinds, made or not."""
        return self.kind is not None and issubclass(self.kind, kinds)

    def accepts(self) -> tuple[type, ...]:
        """Return the item types that may flow in."""
        return tuple(kind for kind in types(self.kind.accepts) if isinstance(kind, type)) if self.kind else ()

    def emits(self) -> type | None:
        """Return the item type that flows out."""
        return self.kind.emits if self.kind and isinstance(self.kind.emits, type) else None

    def is_judge(self) -> bool:
        """Whether it asks about events that wait in the record: a stage that accepts `Case`."""
        return self.is_kind(Stage) and Case in self.accepts()

    def is_durable(self) -> bool:
        """Whether it reads the record, and the edge into it only wakes it."""
        return self.is_kind(Consumer, Job) or self.is_judge()

    def is_store(self) -> bool:
        """Whether it writes to the record, so that what leaves it is there."""
        return self.kind is not None and self.kind.durable and not self.is_judge()

    def commits_events(self) -> bool:
        """Whether it decides frames and stores its events itself, like `batch`."""
        return self.is_store() and self.emits() is Event
