"""Ends the process before or after its n-th COMMIT: `DIE_AT=before:3`. Loaded by Python itself from PYTHONPATH.

It wraps `sqlite3.connect`, the system's edge; nothing in the product knows of it.
"""

import os
import sqlite3

commits = 0
_connect = sqlite3.connect


class Mortal(sqlite3.Connection):
    def execute(self, sql, *args):
        if sql != "COMMIT":
            return super().execute(sql, *args)
        global commits
        commits += 1
        where, _, number = os.environ["DIE_AT"].partition(":")
        if commits == int(number) and where == "before":
            os._exit(9)
        done = super().execute(sql, *args)
        if commits == int(number) and where == "after":
            os._exit(9)
        return done


def install():
    sqlite3.connect = lambda *args, **options: _connect(*args, factory=Mortal, **options)


if "DIE_AT" in os.environ:
    install()
