"""Print every event as it happens, from Redis: `python examples/subscribe.py`."""

import json
import os

import redis

url = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
with redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True) as channel:
    channel.subscribe("security_events")
    for message in channel.listen():
        event = json.loads(message["data"])
        if event["schema"] == "hearthwatch.system.v1":
            print(event["type"], event["state"], event["message"], flush=True)
            continue
        print(event["type"], event["camera_name"], event["risk_level"], event["summary"], flush=True)
