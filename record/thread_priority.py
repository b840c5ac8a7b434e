"""Lower the priority of a thread."""

from __future__ import annotations

import logging
import os
import threading

NICENESS = 10  # such threads work when the processor is idle

log = logging.getLogger(__name__)


def lower_priority() -> None:
    """Lower the priority of the calling thread, unless it is low already: on Linux each thread has its own."""
    thread = threading.get_native_id()
    try:
        if os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
    except OSError as error:
        log.info("the priority of %s stays as it is: %s", threading.current_thread().name, error.strerror)
