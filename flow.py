"""What `python -m bytewax.run flow` imports: the graph of HEARTHWATCH_FLOW, else the built-in one, as `flow`.

Every mistake is reported while this is imported, on standard error with exit code 2; nothing is opened, locked or loaded.
"""

import logging
import sys

from hearthwatch.flows.graph import configured_graph
from hearthwatch.flows.runtime import is_pipeline, prepare_process
from hearthwatch.schemas.errors import UserError

try:
    graph = configured_graph()
    flow = graph.build()
except UserError as error:
    print(error, file=sys.stderr)  # noqa: T201  (a person started this)
    raise SystemExit(2) from None
if is_pipeline():
    prepare_process(graph.settings.debug)
for warning in graph.warnings:
    logging.getLogger("hearthwatch").warning("%s", warning)
