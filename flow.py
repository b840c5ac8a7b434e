"""What `python -m bytewax.run flow` imports: the graph of HEARTHWATCH_FLOW, else the built-in one, as `flow`.

Every mistake is told while this is imported, on standard error with exit code 2; nothing is opened, locked or loaded.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOMS = ("flows", "sources", "stages", "sinks", "gpu", "record", "schemas")

for room in ROOMS:
    if (spec := find_spec(room)) and spec.origin and Path(spec.origin).resolve().parent.parent != HERE:
        print(f"{spec.origin} hides Hearthwatch's own `{room}`: rename it or start elsewhere", file=sys.stderr)  # noqa: T201
        raise SystemExit(2)

from flows.main import dataflow  # noqa: E402  (only now is it surely ours)

flow = dataflow()
