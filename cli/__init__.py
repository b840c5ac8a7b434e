"""The `hearthwatch` command; each command is a file of its own. Exit codes: 0 done, 1 something is wrong, 2 misused."""

from __future__ import annotations

if __name__ != "hearthwatch.cli":
    raise ImportError("import hearthwatch.cli: the rooms of Hearthwatch are imported by this name only")

import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated

import typer

from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import SettingsError

COMMANDS = (
    "run",
    "api",
    "demo",
    "check",
    "graph",
    "components",
    "evaluate",
    "llm",
    "replay",
    "backfill",
    "doctor",
    "sql",
    "prune",
    "verify",
    "why",
)

app = typer.Typer(help="Home camera uploads to security events.", no_args_is_help=True, add_completion=False)


@app.callback(invoke_without_command=True)
def top(show: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False) -> None:
    if show:
        print(f"hearthwatch {version('hearthwatch')}")
        raise typer.Exit


for name in COMMANDS:
    if find_spec(f"{__name__}.{name}"):
        app.command(name)(getattr(import_module(f"{__name__}.{name}"), name))


def main() -> None:
    """Run the command line; a user's mistake is a sentence, never a traceback."""
    sys.path.append("")  # `use = "my_module:Class"` finds what lies beside the flow file, as `python -m` does
    try:
        app()
    except (UserError, SettingsError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
