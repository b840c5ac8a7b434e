"""One base for every message that is meant for the user: what, which value, and what to do. Never a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in settings, flow file, model, record or permissions; its text is shown as it is, exit code 2."""
