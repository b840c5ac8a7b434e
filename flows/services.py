"""Run consumers and jobs on separate threads: a slow one delays no other, and never the dataflow.

Consumers read the feed at least once, in order, behind a durable cursor. The cursor moves after `deliver` returned; when it
raises, the same messages come again after a while (full jitter, at most 30 s), and an outage is logged once. A new consumer
starts at the feed's end. A consumer of the same name in a second process on the same record waits until the first one ends,
and continues where that stopped. Jobs run at their interval, at low priority; one that fails is logged once and runs again.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bytewax.inputs import StatefulSourcePartition

from hearthwatch.flows.only import wants
from hearthwatch.flows.runtime import release_free_memory
from hearthwatch.record import Lock, Record, RecordError, acquire_lock, now
from hearthwatch.record.feed import Feed
from hearthwatch.record.notifications import DeliveryHistory
from hearthwatch.record.thread_priority import lower_priority
from hearthwatch.record.thumbnails import bind_picture
from hearthwatch.schemas import ConsumerWorker, IncidentMessage, ItemMessage, Job, JobWorker, Message, Mirror
from hearthwatch.schemas.context import CONSUMERS_STOP_SECONDS_MAX, JOBS_STOP_SECONDS_MAX, Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.messages import FeedMessage, SystemMessage
from hearthwatch.sinks.notifier import NotifierWorker
from hearthwatch.sources.one_partition import OnePartitionSource

log = logging.getLogger(__name__)

BUGS = (
    AttributeError,
    LookupError,
    NameError,
    TypeError,
)  # logged with the line that raised it: no outage is one of these
MESSAGES_MAX = 100  # per `deliver`: about 100 kB of JSON, and what is repeated at most after a failure
RESUMED_MAX = 200  # messages passed to a consumer's `resume`
IDLE_SECONDS = 1.0  # reads the feed this often by itself, should the dataflow's thread be busy for long
BACKOFF_SECONDS_MAX = 30.0
RETRY_SECONDS = 20.0  # a job that failed runs again after this long, or after its interval if that is shorter
NEWS = "SELECT coalesce(sum(seq), 0) FROM sqlite_sequence WHERE name IN ('feed', 'alerts', 'changed_members')"
POLL = timedelta(seconds=0.01)  # an indexed lookup of 10 µs; an alert waits at most so long


class ServiceThreads:
    """All consumers and jobs of a graph: started together, stopped together."""

    def __init__(self) -> None:
        self._running: list[ConsumerThread | JobThread] = []

    def start(self, service: ConsumerThread | JobThread) -> None:
        service.start()
        mirrors = isinstance(service, ConsumerThread) and isinstance(service.worker, Mirror)
        self._running.insert(0 if mirrors else len(self._running), service)  # what is read live is woken first

    def wake(self) -> None:
        """Wake all: the record may have changed."""
        for service in self._running:
            service.wake()

    def running(self) -> list[ConsumerThread | JobThread]:
        """List those that run."""
        return list(self._running)

    def stop(self) -> None:
        """Stop all; each finishes what is there already, for a bounded time. Called once for each of them."""
        deadline = time.monotonic() + CONSUMERS_STOP_SECONDS_MAX
        for service in self._running:
            service.stop(deadline)
        for service in self._running:
            service.join(deadline)
        self._running.clear()


class FeedPoll(OnePartitionSource[int]):
    """Emits the sum of the newest numbers of the feed and of alerts whenever it grew: also by what passed no stream (verdicts, edits, other processes).

    The first of several cells also counts what changed in the others, which its incidents need.
    """

    def __init__(self, context: Context) -> None:
        others = context.cells[1:] if context.cell in context.cells[:1] else ()
        super().__init__("record", lambda _: _FeedPollPartition(context.record_path, [c.record_path for c in others]))


class _FeedPollPartition(StatefulSourcePartition[int, None]):
    def __init__(self, path: Path, others: Sequence[Path]) -> None:
        self.records, self.others = [Record(path)], list(others)
        self.last, self.due = -1, datetime.now(UTC)

    def next_batch(self) -> list[int]:
        self.due = datetime.now(UTC) + POLL
        for path in [path for path in self.others if path.exists()]:
            with suppress(RecordError):  # it is being upgraded, or its own process reports it
                self.records.append(Record(path))
                self.others.remove(path)
        before, self.last = self.last, sum(record.one(NEWS)[0] for record in self.records)
        return [self.last] if self.last != before else []

    def next_awake(self) -> datetime:
        return self.due

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        for record in self.records:
            record.close()


class SupervisedThread:
    """A thread that is started again, with backoff, when anything but a stop ends it."""

    hangs = "the other side takes what it is sent too slowly, or does not respond"
    """What is wrong if it is busy with one call for long."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.restarted: float | None = None
        """When it was last started again, on the monotonic clock; infinite: it is about to be."""
        self.died_of = ""
        self.failing_since: float | None = None
        """Since when it fails, or is busy with one call, on the monotonic clock."""
        self.error = ""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(
            target=self._keep_running, name=self.name, daemon=True
        )  # a disk that hangs keeps no process
        self._thread.start()

    def _join(self, seconds: float) -> bool:
        """Wait until it has ended; return whether it has."""
        if self._thread:
            self._thread.join(max(0.0, seconds))
        return self._thread is None or not self._thread.is_alive()

    def _keep_running(self) -> None:
        deaths = 0
        while True:
            try:
                return self._run()
            except BaseException as error:  # a library that panics, or ends the thread: none may end it in silence
                deaths += 1
                self.restarted, self.died_of = math.inf, f"{type(error).__name__}: {error}"
                trace = not isinstance(error, UserError)  # words for people say it all
                log.error("the thread of %s ended (%s); it is started again", self.name, self.died_of, exc_info=trace)
            if self._stopping.wait(_backoff_seconds(deaths)):
                return None
            self.restarted = time.monotonic()

    def _run(self) -> None:
        raise NotImplementedError


class ConsumerThread(SupervisedThread):
    """One consumer, its thread and its cursor."""

    def __init__(
        self,
        name: str,
        worker: ConsumerWorker,
        only: Mapping[str, Any],
        context: Context,
        accepts: tuple[type, ...] = (Message,),
        on_news: Callable[[], None] | None = None,
        journals: Collection[str] = (),
    ) -> None:
        """`on_news` is called after a mirror that moves its cursor itself has done so. Of items it gets those of `journals`."""
        super().__init__(name)
        self.on_news, self.journals = on_news, journals
        self.worker, self.only, self.path, self.accepts = worker, only, context.record_path, accepts
        self.context, self._digest_due = context, 0.0
        self._wake, self._until = threading.Event(), 0.0
        self._lock: Lock | None = None

    def start(self) -> None:
        """Make the cursor, then the thread: whatever is written from now on will be delivered."""
        record = Record(self.path)
        try:
            Feed(record).cursor(self.name)
        finally:
            record.close()
        super().start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self, deadline: float) -> None:
        self._until = deadline
        self._stopping.set()
        self._wake.set()

    def join(self, deadline: float) -> None:
        if not self._join(deadline - time.monotonic()):
            log.warning("%s is still delivering: its messages will come again at the next start", self.name)

    def _run(self) -> None:
        take = self._mirror if isinstance(self.worker, Mirror) else self._take
        self._record = Record(self.path)
        self._feed = Feed(self._record)
        if isinstance(self.worker, NotifierWorker):
            self.worker.history = DeliveryHistory(self._feed, self.name)
        opened = False
        try:
            opened = self._acquire_lock() and self._retry(self.worker.open) and self._retry(self._resume)
            while opened and self._retry(take):
                pass
        finally:
            try:
                if opened:
                    self.worker.close()
            except Exception:
                log.exception("%s could not be closed", self.name)
            self._record.close()
            if self._lock:
                self._lock.release()
                self._lock = None

    def _acquire_lock(self) -> bool:
        """Wait until no other process delivers for this consumer. Return False if it is time to stop."""
        warned = False
        while True:
            try:
                self._lock = acquire_lock(f"deliver.{quote(self.name, safe='')}", self.path)
            except RecordError as error:
                if not warned:
                    log.warning("%s: %s; until then nothing is delivered from here", self.name, error)
                warned = True
            else:
                return True
            if self._stopping.wait(IDLE_SECONDS):
                return False

    def _resume(self) -> None:
        """Pass it what was delivered before. The feed may have gaps, where events were deleted."""
        self._cursor = self._feed.cursor(self.name)  # another process may have moved it
        if not isinstance(self.worker, Mirror):
            before = self._feed.after(self._cursor - RESUMED_MAX, RESUMED_MAX)
            self.worker.resume(self._wanted([m for m in before if m.seq <= self._cursor]))

    def _take(self) -> bool:
        """Deliver new messages, or wait for some. Return False if it is time to stop."""
        self._wake.clear()
        messages = self._feed.after(self._cursor, MESSAGES_MAX)
        if messages:
            self._deliver(messages)
            return not self._stopping.is_set() or time.monotonic() < self._until
        if isinstance(self.worker, NotifierWorker):
            self.worker.history.caught_up = time.monotonic()
            if self._digest_due < time.monotonic():
                self.worker.send_digest()
                self._digest_due = time.monotonic() + IDLE_SECONDS
        return self._wait()

    def _mirror(self) -> bool:
        """Let a mirror read the feed itself. Return False if it is time to stop."""
        self._wake.clear()
        assert isinstance(self.worker, Mirror)
        seq = self.worker.catch_up()
        if self.on_news and seq != self._cursor:
            self._cursor = seq
            self.on_news()
        elif not self.on_news:
            self._advance(seq, max(0, seq - self._cursor))
        return self._wait(self.worker.idle_seconds, idle=False)

    def _wait(self, seconds: float = IDLE_SECONDS, idle: bool = True) -> bool:
        if self._stopping.is_set():
            return False
        self.failing_since = None
        if not self._wake.wait(seconds) and idle:
            self.failing_since = time.monotonic()
            self.worker.idle()
        return True

    def _wanted(self, messages: list[FeedMessage]) -> list[FeedMessage]:
        """Leave out what it does not accept, what its `only` excludes, and that itself was down."""
        down = ("notifier_down", self.name), ("redis_down", self.name)
        mine = (m for m in messages if not isinstance(m, ItemMessage) or m.node in self.journals)
        accepted = (m for m in mine if isinstance(m, self.accepts) and wants(self.only, m))
        wanted = (bind_picture(m, self.context) if isinstance(m, IncidentMessage) else m for m in accepted)
        return [m for m in wanted if not isinstance(m, SystemMessage) or (m.kind, m.subject) not in down]

    def _deliver(self, messages: list[FeedMessage]) -> None:
        wanted = self._wanted(messages)
        if wanted:
            self.worker.deliver(wanted)
        self._advance(messages[-1].seq, len(wanted))

    def _advance(self, seq: int, delivered: int) -> None:
        if seq != self._cursor:
            self._feed.advance(self.name, seq, delivered, now())
            self._cursor = seq

    def _retry(self, work: Callable[[], Any]) -> bool:
        """Call until it does not raise. Return True unless it returned False or the stop came first."""
        failures, began = 0, time.monotonic()
        while True:
            self.failing_since = self.failing_since or time.monotonic()  # a call that hangs counts
            try:
                result = work()
            except Exception as error:
                self.error = f"{type(error).__name__}: {error}"
                if not failures:
                    is_bug = isinstance(error, BUGS)
                    log.warning("%s: %s; trying again until it works", self.name, self.error, exc_info=is_bug)
                failures += 1
                if not isinstance(error, RecordError):
                    with suppress(RecordError):
                        self._feed.count_failure(self.name, self.error, now())
                if self._stopping.wait(_backoff_seconds(failures) * random.random()):
                    return False
            else:
                self.failing_since, self.error = None, ""
                if failures:
                    log.info("%s works again after %.0f s", self.name, time.monotonic() - began)
                    self._feed.count_failure(self.name, None, now())
                return result is not False


class JobThread(SupervisedThread):
    """One job and its thread, of low priority. A run that does not ask for long whether to stop hangs."""

    hangs = "its run makes no progress: does the disk respond?"

    def __init__(self, name: str, job: Job, context: Context) -> None:
        super().__init__(name)
        self.job, self.context = job, context
        self._deadline, self._fails = 0.0, False
        self.failed_at: int | None = None
        """When it last failed, in microseconds."""

    def wake(self) -> None:
        """Do nothing: a job has an interval."""

    def stop(self, deadline: float) -> None:
        self._deadline = time.monotonic() + JOBS_STOP_SECONDS_MAX
        self._stopping.set()

    def join(self, deadline: float) -> None:
        self._join(self._deadline - time.monotonic())

    def _run(self) -> None:
        lower_priority()
        worker: JobWorker | None = None
        pause = self.job.pause_seconds()
        while True:
            worker = self._try(worker, lambda made: made.run(datetime.now(UTC), self._is_stopping))
            if self._stopping.wait(min(pause, RETRY_SECONDS) if self._fails else pause):
                break
        if worker:
            self._try(worker, lambda made: made.finish(datetime.now(UTC), lambda: time.monotonic() > self._deadline))

    def _is_stopping(self) -> bool:
        if not self.error:
            self.failing_since = time.monotonic()
        return self._stopping.is_set()

    def _try(self, worker: JobWorker | None, work: Callable[[JobWorker], None]) -> JobWorker | None:
        self.failing_since = self.failing_since or time.monotonic()
        try:
            worker = worker or self.job.build(self.context)
            work(worker)
            self._fails, self.failing_since, self.error = False, None, ""
        except (UserError, OSError) as error:
            if not self._fails:
                log.warning("%s: %s; trying again until it works", self.name, error)
            self._note_failure(error)
        except Exception as error:
            log.exception("%s failed; trying again", self.name)
            self._note_failure(error)
        release_free_memory()
        return worker

    def _note_failure(self, error: Exception) -> None:
        self._fails, self.error, self.failed_at = True, str(error) or type(error).__name__, now()


def _backoff_seconds(failures: int) -> float:
    return min(BACKOFF_SECONDS_MAX, 2.0 ** min(failures, 16) / 4)  # a float ends at 2 ** 1024, after hours of an outage
