"""A Bytewax source of a single partition, for what has one order: the ledger, the feed, a queue of the record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

X = TypeVar("X")


class OnePartitionSource(FixedPartitionedSource[X, Any], Generic[X]):
    """`build` makes the partition of this name from what it resumes; None: a fresh start."""

    def __init__(self, name: str, build: Callable[[Any], StatefulSourcePartition[X, Any]]) -> None:
        self.name, self.build = name, build

    def list_parts(self) -> list[str]:
        return [self.name]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> StatefulSourcePartition[X, Any]:
        return self.build(resume_state)
