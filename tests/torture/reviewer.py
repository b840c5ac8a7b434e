"""Somebody who looks through the events over the API: marks one after the other as reviewed, writes a note on it, and has
pictures that could not be decoded retried.

    python tests/torture/reviewer.py PORT NOTES SEED

NOTES/reviews gets `try EVENT N` before each change and `done EVENT N` when the API has said that it is made; NOTES/retries
the number of each new frame.
"""

import random
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx

PAUSE_SECONDS = 0.3
RETRY = 0.1  # of the turns


def main(port, notes, seed):
    rnd, n = random.Random(f"{seed} review"), time.time_ns()  # above those before a kill
    notes = Path(notes)
    with ExitStack() as stack:
        out, retries = (stack.enter_context((notes / file).open("a", buffering=1)) for file in ("reviews", "retries"))
        api = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15))
        while True:
            time.sleep(PAUSE_SECONDS)
            try:
                if rnd.random() < RETRY and (bad := undecodable(api)):
                    answer = api.post(f"/api/system/quarantine/{rnd.choice(bad)}/retry")
                    if answer.is_success:
                        retries.write(f"{answer.json()['frame_id']}\n")
                events = api.get("/api/events", params={"limit": 20}).raise_for_status().json()["events"]
                if not events:
                    continue
                event, n = rnd.choice(events)["id"], n + 1
                out.write(f"try {event} {n}\n")
                answer = api.patch(f"/api/events/{event}", json={"reviewed": True, "notes": str(n)})
                if answer.is_success:
                    out.write(f"done {event} {n}\n")
            except httpx.HTTPError:
                pass  # it is away, or the record is locked: later


def undecodable(api):
    frames = api.get("/api/system/quarantine").raise_for_status().json()["frames"]
    return [frame["id"] for frame in frames if frame["stage"] == "decode" and not frame["retried"]]


if __name__ == "__main__":
    main(*sys.argv[1:])
