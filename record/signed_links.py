"""Sign links with which a receiver of a notification answers, once and for a week, without the API's token.

A link names the event, the answer and when it expires, and is signed with a key that only this data dir has. It counts while its
event has no answer. The key is created with the first link, is readable by its owner alone, and stands in no log.
"""

from __future__ import annotations

import hmac
import os
import secrets
from base64 import urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import get_args

from hearthwatch.record.feedback import Answer
from hearthwatch.record.units import DAY

LINK_DAYS = 7
KEY_BYTES = 32


def answer_paths(data_dir: Path, event: int, at: int) -> dict[Answer, str]:
    """Return for each answer its path below the page's address; the links expire `LINK_DAYS` after `at`."""
    key, until = _create_key(data_dir / "feedback.key"), at + LINK_DAYS * DAY
    texts = {answer: f"{event}.{answer}.{until // 1_000_000}" for answer in get_args(Answer)}
    return {answer: f"api/feedback/{text}.{_sign(key, text)}" for answer, text in texts.items()}


def read_token(data_dir: Path, token: str, at: int) -> tuple[int, Answer, bool] | None:
    """Read the last part of a link's path: event, answer, whether it expired; None: it is not one of this data dir."""
    text, _, signature = token.rpartition(".")
    try:
        key = (data_dir / "feedback.key").read_bytes()
    except FileNotFoundError:
        return None
    if not hmac.compare_digest(signature.encode(), _sign(key, text).encode()):
        return None
    event, answer, until = text.split(".")
    return int(event), answer, at // 1_000_000 >= int(until)  # type: ignore[return-value]


def _sign(key: bytes, text: str) -> str:
    return urlsafe_b64encode(hmac.digest(key, text.encode(), "sha256")).decode().rstrip("=")


def _create_key(path: Path) -> bytes:
    """Read the key; the first of several processes creates it, whole or not at all."""
    if not path.exists():
        with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as file:  # readable by its owner alone
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_bytes()
