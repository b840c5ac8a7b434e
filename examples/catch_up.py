"""Print every event, those published while this program did not run included: `python examples/catch_up.py`.

At least once, in order: its position is kept in `./catch_up.place` and written after each event was printed.
"""

import json
import os
from pathlib import Path

import redis

STREAM, PLACE = "security_events:stream", Path("catch_up.place")

with redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0"), decode_responses=True) as client:
    store, last = PLACE.read_text().split() if PLACE.exists() else ("", "0")
    while True:
        if store != (store := client.get(f"{STREAM}:store_id") or ""):
            last = "0"  # the events of another record: its numbers start at 1 again
        found = client.xread({STREAM: last}, count=100, block=1000)
        for last, fields in found[0][1] if found else ():
            event = json.loads(fields["data"])
            camera, words = event.get("camera_name"), event.get("summary") or event.get("message")
            print(event["seq"], event["type"], camera, event.get("risk_level"), words, flush=True)
            PLACE.write_text(f"{store} {last}")
