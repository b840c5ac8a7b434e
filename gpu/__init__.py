"""Pictures and tensors: decoding, RT-DETRv2, remote services. No Bytewax, no database."""

from __future__ import annotations

from schemas.errors import UserError


class DetectorError(UserError):
    """The detector cannot start or go on, whatever the picture: what, which value, and what to do."""


class StoppedError(UserError):
    """`stop` was called while pictures waited. They were not looked at, and nothing is lost."""
