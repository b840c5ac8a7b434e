"""Writes docs/settings.md: `python -m tests.support.settings_page > docs/settings.md`. A test compares the two."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from hearthwatch.schemas.settings import SettingsError, load, variables

HEAD = """# Settings

Environment variables, or lines of a `.env` file in the folder where you start; the environment wins, and an empty value is
the default. [.env.example](../.env.example) lists all of them: copied to `.env` it changes nothing. `hearthwatch check` tells
every mistake at once and every variable that nobody reads. No secret is ever printed. This page is written by
`python -m tests.support.settings_page`.

| variable | default | meaning | allowed |
|---|---|---|---|
"""

TAIL = """
In a flow file `${NAME}` stands for any of these, and for any other variable of the environment or of `.env`. Options of parts
are listed by `hearthwatch components`; the built-in graph with all of its options is `flows/default.toml`.

Three more are read by scripts alone: `HEARTHWATCH_VENV` (where `scripts/setup` makes the virtual environment, default
`.venv`), `HEARTHWATCH_VLLM` (the vllm command of `hearthwatch llm`), and `HEARTHWATCH_TEST_REQUIRE=all` (a program that tests
need and that is missing fails them instead of skipping them).

When something is wrong, all mistakes come together, each with its value and what is allowed:
```text
"""

WRONG = {"BATCH_WINDOW_SECONDS": "0", "REDIS_URL": "localhost:6379", "HEARTHWATCH_TIMEZONE": "Europe/Berlni"}


def page() -> str:
    """The whole page."""
    rows = (
        f"| `{item.name}` | {f'`{item.default}`' if item.default else 'unset'} | {cell(item.meaning)} | {cell(item.allowed)} |\n"
        for item in variables()
    )
    return HEAD + "".join(rows) + TAIL + mistakes() + "\n```\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def mistakes() -> str:
    try:
        load(None, WRONG)
    except SettingsError as error:
        return str(error)
    raise AssertionError("these are mistakes")


if __name__ == "__main__":
    print(page(), end="")
