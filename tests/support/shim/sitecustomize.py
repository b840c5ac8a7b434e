"""Ends the process before or after its n-th COMMIT: `DIE_AT=before:3`. Loaded by Python itself from PYTHONPATH."""

import os

if "DIE_AT" in os.environ:
    from hearthwatch.flows.faults import FaultPoint

    FaultPoint(os.environ["DIE_AT"]).install()
