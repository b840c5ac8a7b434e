"""What `python -m bytewax.run flow` imports: the graph of HEARTHWATCH_FLOW, else the built-in one, as `flow`.

Every mistake is reported while this is imported, on standard error with exit code 2; nothing is opened, locked or loaded, but
when Bytewax runs the graph an older record is upgraded, and a graph with state that only Bytewax keeps gets a recovery store.
"""

import logging
import sys

from hearthwatch.flows.graph import configured_graph
from hearthwatch.flows.runtime import exit_on_user_error, is_pipeline, keep_recovery_store, prepare_process
from hearthwatch.record.cells import find_cells
from hearthwatch.record.upgrade import upgrade_record
from hearthwatch.schemas.errors import UserError

try:
    graph = configured_graph()
    if graph.needs_recovery_store() and keep_recovery_store(graph.recovery_store, graph.context.record_path):
        graph = configured_graph()  # knows of the store
    flow = graph.build()
except UserError as error:
    print(error, file=sys.stderr)  # noqa: T201  (a person started this)
    raise SystemExit(2) from None
if is_pipeline():
    prepare_process(graph.settings.debug)
    with exit_on_user_error(2):
        context = graph.context
        for cell in find_cells(context.wanted_cells, context.record_path, context.data_dir, context.base_path):
            upgrade_record(cell.record_path, cell.data_dir)
for warning in graph.warnings:
    logging.getLogger("hearthwatch").warning("%s", warning)
