"""Check the discovery messages of `mqtt` against Home Assistant's own schema and topics. Not part of the suite.

python -m venv ha; ha/bin/pip install homeassistant==2024.3.3    # its requirements as far as these modules import them
python -m tests.long.home_assistant ha/bin/python
"""

import json
import subprocess
import sys

from hearthwatch.sinks.mqtt import Mqtt, entities

CHECK = """
import json, sys
import homeassistant.const
from homeassistant.components.mqtt import binary_sensor, discovery, image, sensor
schemas = {"sensor": sensor, "binary_sensor": binary_sensor, "image": image}
messages = json.load(sys.stdin)
for topic, entity in messages:
    kind = discovery.TOPIC_MATCHER.match(topic.split("/", 1)[1]).group("component")
    schemas[kind].DISCOVERY_SCHEMA(entity)
print(f"Home Assistant {homeassistant.const.__version__} takes all {len(messages)} entities")
"""


def main():
    options = Mqtt(url="mqtt://localhost", page_url="http://192.168.1.5:8000")
    cameras = ("front_door", "Front Door"), ("hof_ä", "Hof Ä"), (None, "")
    messages = [(t, json.loads(e)) for camera, name in cameras for t, e in entities(options, "0badcafe", camera, name)]
    done = subprocess.run([sys.argv[1], "-c", CHECK], input=json.dumps(messages), text=True, check=False)
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
