"""Write docs/settings.md: `python -m tests.support.settings_page > docs/settings.md`. A test compares the two."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from hearthwatch.schemas.settings import SettingsError, load, variables

HEAD = """# Settings

Set them as environment variables, or in a `.env` file in the folder where you start; an empty value is the default. The
environment wins over `.env`, and the `[settings]` table of a flow file over both (names in lower case without `HEARTHWATCH_`).
[.env.example](../.env.example) lists all of them: copied to `.env` it changes nothing. `hearthwatch check` reports all mistakes
at once and variables that are probably misspelt. No secret is ever printed.
`python -m tests.support.settings_page` writes this page.

| variable | default | meaning | allowed |
|---|---|---|---|
"""

TAIL = """
In a flow file `${NAME}` stands for any of these, and for any other variable of the environment or of `.env`.
`hearthwatch components` lists the options of the components; the built-in graph is `flows/default.toml`.

Three more are not for the pipeline: `HEARTHWATCH_VENV` (where `scripts/setup` makes the virtual environment, default
`.venv`), `HEARTHWATCH_VLLM` (the vllm command of `hearthwatch llm`), and `HEARTHWATCH_TEST_REQUIRE=all` (a test fails, and is
not skipped, when a program that it needs is missing).

All mistakes are reported together, each with its value and what is allowed:
```text
"""

WRONG = {"BATCH_WINDOW_SECONDS": "0", "REDIS_URL": "localhost:6379", "HEARTHWATCH_TIMEZONE": "Europe/Berlni"}


def page() -> str:
    """Return the text of the page."""
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
