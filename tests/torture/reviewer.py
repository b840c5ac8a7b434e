"""Somebody who looks through the events: marks one after the other as reviewed, over the API, and writes a note on it.

    python tests/torture/reviewer.py PORT NOTES SEED

NOTES gets `try EVENT N` before each change and `done EVENT N` when the API has said that it is made.
"""

import random
import sys
import time

import httpx

PAUSE_SECONDS = 0.3


def main(port, notes, seed):
    rnd, n = random.Random(f"{seed} review"), time.time_ns()  # above those before a kill
    with open(notes, "a", buffering=1) as out, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as api:
        while True:
            time.sleep(PAUSE_SECONDS)
            try:
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


if __name__ == "__main__":
    main(*sys.argv[1:])
