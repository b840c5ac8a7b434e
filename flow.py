"""What `python -m bytewax.run flow` imports: the graph of HEARTHWATCH_FLOW, else the built-in one, as `flow`.

Every mistake is reported while this is imported, on standard error with exit code 2; nothing is opened, locked or loaded.
"""

from hearthwatch.flows.main import dataflow

flow = dataflow()
