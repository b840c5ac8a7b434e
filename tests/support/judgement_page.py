"""Fill the tables of docs/judgement.md by the commands that its comments name.

python -m tests.support.judgement_page [SHARED]     # SHARED: the folder of the stories that others wrote; else those stay
"""

import re
import sys
from functools import cache
from pathlib import Path

from typer.testing import CliRunner

from hearthwatch.cli import app

PAGE = Path(__file__).parents[2] / "docs/judgement.md"
BLOCK = re.compile(r"(<!-- \$ hearthwatch (.+?) -->\n)(.*?)(<!-- \$ -->\n)", re.DOTALL)


@cache
def output(command: str) -> str:
    result = CliRunner().invoke(app, command.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.strip() + "\n"


def blocks() -> dict[str, str]:
    """Return the page's tables by their commands."""
    return {command: table for _, command, table, _ in BLOCK.findall(PAGE.read_text())}


def fill(shared: str = "") -> None:
    def table(match: re.Match[str]) -> str:
        head, command, old, foot = match.groups()
        known = shared or "SHARED" not in command
        return head + (output(command.replace("SHARED", shared)) if known else old) + foot

    PAGE.write_text(BLOCK.sub(table, PAGE.read_text()))


if __name__ == "__main__":
    fill(*sys.argv[1:])
