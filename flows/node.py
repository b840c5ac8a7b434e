"""One node of a graph: a name, a component, where its items come from, and which of them it wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hearthwatch.schemas import Component

FLOW = "hearthwatch"  # the dataflow's id: a recovery store belongs to it, so it never changes
FEED = "feed"  # a node that every graph has: `from = "feed"`
ERRORS = "errors"  # `from = "detect.errors"`: what failed in a stage


@dataclass(frozen=True)
class Node:
    """`component` is None where it could not be made; the mistake that says why is told with all others."""

    name: str
    use: str
    component: Component | None
    after: tuple[str, ...] = ()
    only: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.use})"

    def label(self) -> str:
        """What the drawn graph says about it; quotes would end Mermaid's own."""
        assert self.component is not None
        off = getattr(self.component, "off", lambda: None)()
        return self.component.label().replace('"', "'") + (", off" if off else "")

    def sources(self) -> tuple[str, ...]:
        """The names of the nodes it reads, without their ports."""
        return tuple(name.partition(".")[0] for name in self.after)
