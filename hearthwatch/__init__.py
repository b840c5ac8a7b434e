"""Turn camera uploads into security events. A plug-in imports `hearthwatch.schemas`, nothing else."""

from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
"""The folder that holds this package and `flow.py`: the checkout, or site-packages."""
