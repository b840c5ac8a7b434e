"""Prepare the process of `python -m bytewax.run flow`: logging, and a last message without a traceback.

A program that builds a graph for itself keeps its own logging, and gets exceptions.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import shutil
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from hearthwatch.record.connection import BlockedRecordError
from hearthwatch.schemas import process
from hearthwatch.schemas.errors import UserError

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
NOISY = (
    "PIL",
    "asyncio",
    "filelock",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "huggingface_hub",
    "transformers",
    "urllib3",
    "watchdog",
)

SNAPSHOT_SECONDS = 1  # what own sources read again after a kill; the journal has it already

_is_ours = False  # whether this process belongs to the pipeline


def is_pipeline() -> bool:
    """Whether `python -m bytewax.run` started this process."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "bytewax.run"


def has_recovery_store() -> bool:
    """Whether `python -m bytewax.run` was given a recovery store, by option or environment."""
    options = ("-r", "--recovery-directory")
    given = any(argument == option or argument.startswith(f"{option}=") for argument in sys.argv for option in options)
    return is_pipeline() and (given or "BYTEWAX_RECOVERY_DIRECTORY" in os.environ)


def keep_recovery_store(store: Path, record: Path) -> bool:
    """Let `python -m bytewax.run flow` keep snapshots in a store, made if there is none.

    Returns whether it does: not if it was given one, nor in one of several processes, which would need the same one.

    Raises:
        UserError: it cannot be made.
    """
    from bytewax.recovery import RecoveryConfig

    options = getattr(sys.modules["__main__"], "kwargs", {})  # parsed before Bytewax imports the graph
    if not is_pipeline() or has_recovery_store() or options.get("process_id") is not None:
        return False
    make_recovery_store(store, record)
    os.environ["BYTEWAX_RECOVERY_DIRECTORY"] = str(store)
    config = RecoveryConfig(str(store), timedelta(0))  # type: ignore[no-untyped-call]
    options |= {"recovery_config": config, "epoch_interval": timedelta(seconds=SNAPSHOT_SECONDS)}
    return True


def make_recovery_store(store: Path, record: Path) -> None:
    """Make a recovery store where there is none, or none of this record; a kill leaves a whole one, or none.

    The store of a record that was deleted is made again: its positions would leave out what the new record lacks.

    Raises:
        UserError: it cannot be made.
    """
    from bytewax.recovery import init_db_dir

    try:
        if not (store.exists() and record.exists()):
            shutil.rmtree(store, ignore_errors=True)
            part = store.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            init_db_dir(part, 1)  # type: ignore[no-untyped-call]
            part.rename(store)
    except OSError as error:
        raise UserError(f"{store}: the recovery store cannot be made: {error.strerror}") from None


def prepare_process(debug: bool) -> None:
    """Set up logging, limits and permissions, and make every end of this process say in words what happened."""
    global _is_ours
    _is_ours = True
    process.prepare()
    os.environ["RUST_BACKTRACE"] = "0"  # Bytewax's panics name no line of ours
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format=FORMAT, stream=sys.stderr)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _report_and_exit


@contextmanager
def exit_on_user_error(code: int) -> Iterator[None]:
    """End the pipeline with the text of a `UserError` and this exit code; in other programs it stays an exception.

    A panic of Bytewax would come first otherwise, and a thread that never ends could keep the process. What another start may
    find in order, such as a full disk, is code 1: with 2 nothing would start the pipeline again.
    """
    try:
        yield
    except UserError as error:
        if not _is_ours:
            raise
        exit_with(str(error), 1 if isinstance(error, BlockedRecordError) else code)


def exit_with(words: str, code: int) -> None:
    """Print the message and exit at once. Everything that matters is committed already."""
    print(words, file=sys.stderr, flush=True)  # noqa: T201  (the last words of a program are for a person)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def exit_after(seconds: float, words: str) -> None:
    """End the pipeline with code 0 unless it has ended by itself until then."""
    if _is_ours:
        timer = threading.Timer(seconds, exit_with, (words, 0))
        timer.daemon = True
        timer.start()


def _report_and_exit(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    ours = next((cause for cause in causes if isinstance(cause, UserError)), None)
    if ours is None and re.search(r"(Send|Recv) thread panic", str(error)):
        exit_with("another process of this cluster has ended: start all of them again, nothing is lost", 1)
    words, code = (str(ours), ours.exit_code) if ours else _recovery_store_error(causes)
    exit_with(words or "".join(traceback.format_exception(kind, error, trace)), code)


def _recovery_store_error(causes: list[BaseException]) -> tuple[str | None, int]:
    """Return Bytewax's words about its recovery store, for people; it has no exception types for most of it."""
    for cause in causes:
        text = str(cause)
        if type(cause).__module__ == "bytewax.recovery" or "recovery directory" in text:
            return f"{text.partition(';')[0]}: make the recovery store once with `python -m bytewax.recovery DIR 1`", 2
        if re.search(r"SqliteFailure|recovery DB|src/recovery\.rs", text):
            reason = re.search(r'Some\("(.+?)"\)', text) or re.search(r"^([^(]+)$", str(causes[-1]))
            why = f" ({reason[1]})" if reason else ""
            return (
                f"Bytewax's recovery store cannot be used{why}: check its disk. Nothing is lost: start again, "
                "or without `-r` if the store is beyond repair"
            ), 1
    return None, 1


def release_free_memory() -> None:
    """Return freed memory to the system: glibc keeps it for the next time, in each thread's arena again."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # other C libraries do so by themselves
        trim(0)
