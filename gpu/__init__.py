"""Detect objects: decoding, RT-DETRv2, a client of remote services. No Bytewax, no database."""

from __future__ import annotations

if __name__ != "hearthwatch.gpu":
    raise ImportError("import hearthwatch.gpu: the rooms of Hearthwatch are imported by this name only")

from hearthwatch.schemas.errors import UserError


class DetectorError(UserError):
    """The detector cannot start or continue, whatever the picture: what, which value, and what to do."""


class ModelUnavailableError(DetectorError):
    """The model cannot be fetched now, because of the hub or the network: try again."""


class StoppedError(UserError):
    """`stop` was called while pictures waited. They were not processed, and nothing is lost."""
