"""Answers of a language model, through the real client, the real analyst and into a real record.

A verdict that fits and fits into the record, or a missed attempt with a reason of bounded length; never anything else.
"""

import json
import threading

from hearthwatch.record.verdicts import FailedAttempt, Verdicts
from hearthwatch.stages import prompt
from hearthwatch.stages.analyze import Nemotron
from hearthwatch.stages.llm_queue import LlmQueue
from tests.fuzz.answers import Server, damaged, http
from tests.support.events import Cameras

NAME = "llm"
PEAK_BYTES_MAX = 300_000_000  # an answer of a megabyte as bytes, text and values; JSON of nothing but `[` takes most
T = 1_790_000_000
REASON_MAX = 1000  # characters: it stands in one line of a log


class Llm:
    def __init__(self, folder):
        self.cameras = Cameras(folder / "llm.db").see(T, T + 5, labels=("person", "car")).close()
        self.verdicts = Verdicts(self.cameras.record)
        (self.case,) = self.verdicts.due(8)
        self.ids = prompt.citable_ids(self.case.facts)
        self.server = Server()
        self.analyst = LlmQueue(Nemotron(url=self.server.url, timeout_seconds=0.5, attempts=1_000_000_000))

    def make(self, rnd):
        said = {
            "reasoning": "Somebody.",
            "evidence": self.ids[:2],
            "summary": "A person",
            "risk_score": rnd.randint(0, 100),
        }
        match rnd.randrange(4):
            case 0:
                text = damaged(rnd, said).decode("utf-8", "surrogateescape")
            case 1:
                text = json.dumps(
                    said
                    | {
                        rnd.choice([*said, "x"]): rnd.choice(
                            [None, -1, 1e9, "\n\x00\ud800<b>", [10**18], ["a"], {}, "9" * 5000]
                        )
                    }
                )
            case _:
                text = json.dumps(said)
        finish = rnd.choice(["stop"] * 8 + ["length", "content_filter", None, 5, "x" * 500_000, ["stop"]])
        whole = {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}]}  # fmt: skip
        body = damaged(rnd, whole) if rnd.random() < 0.5 else json.dumps(whole).encode("utf-8", "surrogatepass")
        return http(body, rnd)

    def run(self, answer):
        self.server.answer = answer
        self.analyst.submit(self.case)
        while not (done := self.analyst.take_finished()):
            assert threading.active_count() < 200
            self.analyst.wait(1.0)
        ((_, outcome),) = done
        self.analyst.breaker.record_success()  # as if a good answer had come in between
        if outcome is None:
            return "unavailable: asked again later"
        self._write(outcome)
        if isinstance(outcome, FailedAttempt):
            assert len(outcome.reason) <= REASON_MAX, f"a reason of {len(outcome.reason)} characters"
            return outcome.reason
        verdict = outcome.verdict
        assert type(verdict.risk_score) is int and 0 <= verdict.risk_score <= 100
        assert verdict.evidence and set(verdict.evidence) <= {s.id for s in self.case.facts.sightings}
        assert 0 < len(verdict.summary) <= prompt.SUMMARY_MAX and verdict.summary.isprintable()
        return None

    def _write(self, outcome):
        """Into the record, and out again."""
        record = self.cameras.record
        record.execute("SAVEPOINT fuzz")
        try:
            self.verdicts._write([outcome])
            record.rows("SELECT summary, reasoning FROM events")
        finally:
            record.execute("ROLLBACK TO fuzz")
            record.execute("RELEASE fuzz")
