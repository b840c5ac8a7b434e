"""The base of errors that a command shows to the user without a traceback: what, which value, and what to do."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in settings, flow file, model, record or permissions; its text is printed as it is, exit code 2."""

    exit_code = 1
    """Of a pipeline that it ends while items flow."""
