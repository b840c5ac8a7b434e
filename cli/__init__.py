"""The `hearthwatch` command; each command is a file of its name, imported only when the command is called.

Exit codes: 0 done, 1 something is wrong, 2 the command or the configuration cannot be used.
"""

from __future__ import annotations

if __name__ != "hearthwatch.cli":
    raise ImportError("import hearthwatch.cli: the rooms of Hearthwatch are imported by this name only")

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = (
    *("run", "api", "demo", "check", "graph", "components", "notify", "evaluate", "llm", "detector", "replay", "retry"),
    *("backfill", "doctor", "sql", "prune", "verify", "why", "whatif", "prove"),
)  # in the order of --help


def load(name: str) -> Any:
    """Import a command's module and make its command."""
    from hearthwatch.cli.cells import OF_CELLS, of_cells

    single, function = typer.Typer(add_completion=False), getattr(import_module(f"{__name__}.{name}"), name)
    single.command(name)(of_cells(function) if name in OF_CELLS else function)
    return typer.main.get_command(single)


class LazyCommand(TyperCommand):
    """A command as `hearthwatch --help` lists it; its module is imported when it is called."""

    def __init__(self, name: str) -> None:
        text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        docstring = re.search(rf'^def {name}\(.*?^    """(.*?)"""', text, re.MULTILINE | re.DOTALL)
        super().__init__(name, help=docstring[1] if docstring else "")

    def make_context(self, info_name: str | None, *arguments: Any, **more: Any) -> Any:
        from hearthwatch.schemas import process

        process.prepare()
        return load(self.name or "").make_context(info_name, *arguments, **more)


class Commands(TyperGroup):
    """All commands by name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: LazyCommand(name) for name in COMMANDS}


app = typer.Typer(
    cls=Commands, help="Home camera uploads to security events.", no_args_is_help=True, add_completion=False
)


@app.callback(invoke_without_command=True)
def top(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        from importlib.metadata import version

        print(f"hearthwatch {version('hearthwatch')}")
        raise typer.Exit


def main() -> None:
    """Run the command line; a user's mistake is a sentence, never a traceback."""
    sys.path.append("")  # `use = "my_module:Class"` finds modules in the working folder, as `python -m` does
    try:
        app()
    except Exception as error:
        from hearthwatch.schemas.errors import UserError
        from hearthwatch.schemas.settings import SettingsError

        if not isinstance(error, UserError | SettingsError):
            raise
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
