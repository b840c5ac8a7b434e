"""Promises: a process that dies is restarted after a growing wait, one that cannot run stops all, and none is left running."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hearthwatch.cli.supervisor import ChildProcess, RestartedProcess, is_pipeline_running, supervise
from hearthwatch.record import RecordError, acquire_lock
from hearthwatch.schemas.errors import UserError
from tests.cli.test_run import alive
from tests.support.pipeline import SLOW

STOP_SECONDS_MAX = 9.0


class Until:
    """Stop `supervise` once something holds."""

    def __init__(self, condition: Callable[[], bool]):
        self.condition, self.deadline = condition, time.monotonic() + SLOW

    def wait(self, seconds: float) -> bool:
        assert time.monotonic() < self.deadline
        time.sleep(0.01)
        return self.condition()


def run(
    *processes: RestartedProcess, until: Callable[[], bool] = lambda: False, seconds: float = STOP_SECONDS_MAX
) -> int:
    return supervise(processes, Until(until), seconds)  # type: ignore[arg-type]


def script(name: str, text: str, *arguments: object) -> RestartedProcess:
    return RestartedProcess(name, [sys.executable, "-c", text, *map(str, arguments)])


def died(process: RestartedProcess, now: float) -> None:
    """Let it end, however long that takes, and be seen at `now`."""
    process.children[0].process.wait()
    process.step(now)
    assert not process.children


def test_the_wait_before_a_restart_doubles_up_to_half_a_minute_and_starts_over_after_a_minute_of_running(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """On a clock of the test's own: neither the machine's speed nor its load has a say."""
    frail, now = script("frail", "import sys; sys.exit(3)"), 100.0
    frail.start(now)
    for seconds in (1, 2, 4, 8, 16, 30, 30):
        died(frail, now)
        assert capfd.readouterr().out.endswith(f"frail died (exit code 3) after 0 s; restart in {seconds} s\n")
        frail.step(now + seconds - 0.1)
        assert not frail.children
        frail.step(now := now + seconds)
        assert frail.children
    died(frail, now + 61)
    assert capfd.readouterr().out.endswith("frail died (exit code 3) after 61 s; restart in 1 s\n")


def test_what_dies_is_restarted(tmp_path: Path) -> None:
    """It dies once, and runs the second time."""
    first, second = tmp_path / "first", tmp_path / "second"
    text = "import pathlib, sys, time; a, b = map(pathlib.Path, sys.argv[1:]); a.exists() or (a.touch(), sys.exit(1)); b.touch(); time.sleep(60)"
    assert run(script("frail", text, first, second), until=second.exists) == 0


def test_processes_that_only_work_together_are_restarted_together(tmp_path: Path) -> None:
    """One of two dies once: the other one is started again, too."""
    text = (
        "import os, pathlib, sys, time; me = pathlib.Path(sys.argv[1]); before = [*me.parent.glob(me.name + '-*')];"
        "pathlib.Path(f'{me}-{os.getpid()}').touch(); me.name == 'a' and not before and sys.exit(1); time.sleep(60)"
    )
    both = RestartedProcess("both", lambda: [[sys.executable, "-c", text, str(tmp_path / name)] for name in "ab"])

    def are_both_again() -> bool:
        there = all((tmp_path / f"{n}-{c.process.pid}").exists() for n, c in zip("ab", both.children, strict=False))
        return len([*tmp_path.glob("a-*")]) == 2 and len(both.children) == 2 and there

    assert run(both, until=are_both_again) == 0


def test_a_misused_process_stops_everything(capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong setting does not get better by trying again."""
    well, wrong = script("well", "input_ = __import__('time').sleep(60)"), script("wrong", "import sys; sys.exit(2)")
    assert run(well, wrong) == 2
    out = capfd.readouterr().out
    assert "wrong cannot run like this (exit code 2): its reason is above" in out
    assert out.count("started") == 2
    assert not alive(int(re.findall(r"well started, pid (\d+)", out)[0]))


def test_processes_that_end_by_themselves_are_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(script("short", "pass"), script("other", "pass")) == 0
    assert capfd.readouterr().out.count("has ended") == 2


def test_a_process_may_end_by_the_signal_that_stops_it(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    plain = script("plain", "import sys, time; open(sys.argv[1], 'w'); time.sleep(60)", ready)
    assert run(plain, until=ready.exists) == 0


def test_a_process_that_does_not_end_is_killed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ready = tmp_path / "ready"
    deaf = script(
        "deaf",
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(60)",
        ready,
    )
    assert run(deaf, until=ready.exists, seconds=0.2) == 1
    out = capfd.readouterr().out
    assert "deaf does not end: killed" in out
    assert not alive(int(re.findall(r"pid (\d+)", out)[0]))


def test_a_child_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with ChildProcess("pipeline", [sys.executable, "-c", "print('no model')"], log=tmp_path / "log") as child:
        child.process.wait()
        with pytest.raises(UserError, match=r"^the pipeline has ended:\nno model$"):
            child.check()


def test_whether_a_pipeline_runs(tmp_path: Path) -> None:
    assert not is_pipeline_running(tmp_path / "a.db", tmp_path)
    lock = acquire_lock("see", tmp_path / "a.db", tmp_path)
    assert is_pipeline_running(tmp_path / "a.db", tmp_path)
    lock.release()
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="the lock cannot be made"):
        is_pipeline_running(tmp_path / "a.db", tmp_path / "file")
