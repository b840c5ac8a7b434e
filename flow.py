"""What `python -m bytewax.run flow` imports: the graph of HEARTHWATCH_FLOW, else the built-in one, as `flow`.

Every mistake is reported while this is imported, on standard error with exit code 2; nothing is opened, locked or loaded, but
an older record is upgraded when Bytewax runs the graph.
"""

import logging
import sys

from hearthwatch.flows.graph import configured_graph
from hearthwatch.flows.runtime import exit_on_user_error, is_pipeline, prepare_process
from hearthwatch.record.upgrade import upgrade_record
from hearthwatch.schemas.errors import UserError

try:
    graph = configured_graph()
    flow = graph.build()
except UserError as error:
    print(error, file=sys.stderr)  # noqa: T201  (a person started this)
    raise SystemExit(2) from None
if is_pipeline():
    prepare_process(graph.settings.debug)
    with exit_on_user_error(2):
        upgrade_record(graph.context.record_path, graph.context.data_dir)
for warning in graph.warnings:
    logging.getLogger("hearthwatch").warning("%s", warning)
