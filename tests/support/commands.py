"""Run commands of the product as a user does."""

from subprocess import Popen


def read_until(process: Popen[str], words: str) -> str:
    """Read the output up to the first line with these words; fail if it ends before."""
    lines = []
    assert process.stdout
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError("".join(lines))
