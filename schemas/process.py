"""Prepare a process of this product: how many files it may open, and who may read what it writes."""

from __future__ import annotations

import os
import resource

UMASK = 0o027  # folders 0750, files 0640: the owner writes, the group reads


def prepare() -> None:
    """Raise the limit of open files as far as it may be raised, and keep other users out of new files."""
    os.umask(UMASK | os.umask(UMASK))  # a stricter umask stays in force
    raise_file_limit()


def raise_file_limit() -> int:
    """Set the soft limit of open files to the hard one, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        return soft  # a system that counts less than it permits (macOS)
    return hard
