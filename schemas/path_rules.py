"""Read what settings say about paths in the upload tree: which are ignored, whose camera a picture is, when it was taken.

Pure. Paths are relative to the tree, capture times' to the camera's folder; text is as `escape` writes it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from hearthwatch.schemas.picture_formats import PICTURE_SUFFIX

IGNORED_NAMES = ("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN")
"""Folders of network storage that hold copies: ignored at any depth."""
_DIRECTIVES = {
    "Y": r"\d{4}", "y": r"\d\d", "m": r"\d\d?", "b": r"[A-Za-z]{3}", "B": r"[A-Za-z]{3,9}", "d": r"\d\d?", "j": r"\d{3}",
    "H": r"\d\d?", "I": r"\d\d?", "p": r"[AaPp]\.?[Mm]\.?", "M": r"\d\d?", "S": r"\d\d?", "f": r"\d{1,6}", "s": r"\d{9,11}",
    "z": r"Z|[+-]\d\d:?\d\d", "a": r"[A-Za-z]{3}", "A": r"[A-Za-z]{6,9}",
}  # fmt: skip
SHORTER = {"b": "{:.3}", "B": "{:.3}", "p": "{:.1}m"}
"""How `strptime` wants what else may be written longer."""
_MARKS = re.compile(rb"(?:^|/)[.@#$]")  # what the names begin with that are always ignored; 0.3 us instead of 3
_FIELD = re.compile(r"\{(n?)([1-9]\d?)\}")


class TimeFormat:
    """A `strptime` pattern of the end of a path; `*` is any text without a `/`, `%s` seconds since 1970."""

    def __init__(self, text: str) -> None:
        """Read `pattern` or `camera=pattern`.

        Raises:
            ValueError: it is none, or says no date or no time of day.
        """
        camera, equals, pattern = text.partition("=")
        named = bool(equals) and "%" not in camera
        self.camera, self.text = (camera.strip() if named else None), (pattern if named else text).strip()
        seen: set[str] = set()
        regex = ""
        for literal, directive, star in re.findall(r"([^%*]+)|%(.?)|(\*+)", self.text):
            if literal:
                regex += re.escape(literal)
            elif star:
                regex += "[^/]*" if star == "*" else ".*"
            elif directive == "%":
                regex += "%"
            elif directive not in _DIRECTIVES:
                raise ValueError(f"`%{directive}` in `{self.text}` is none of %{' %'.join(_DIRECTIVES)}")
            else:
                regex += f"(?P={directive})" if directive in seen else f"(?P<{directive}>{_DIRECTIVES[directive]})"
                seen.add(directive)
        date = seen & {"Y", "y"} and ("j" in seen or ("d" in seen and seen & {"m", "b", "B"}))
        if "s" not in seen and not (date and "M" in seen and ("H" in seen or {"I", "p"} <= seen)):
            raise ValueError(f"`{self.text}` needs a year, month and day, an hour and a minute, or %s")
        self._regex = re.compile(rf"(?:.*/)?{regex}(?:\.\w+)*")

    def read(self, path: str) -> datetime | None:
        """Return the time in a path, without a zone unless it names one; None: it does not fit."""
        match = self._regex.fullmatch(path)
        if match is None:
            return None
        part = match.groupdict()
        try:
            if "s" in part:
                return datetime.fromtimestamp(int(part["s"]), UTC) + timedelta(seconds=float(f"0.{part.get('f', 0)}"))
            known = {name: SHORTER.get(name, "{}").format(text) for name, text in part.items() if name not in "aA"}
            return datetime.strptime(" ".join(known.values()), " ".join(f"%{name}" for name in known).replace("B", "b"))
        except (ValueError, OverflowError):
            return None


class CameraPath(NamedTuple):
    """Whose picture a path is: the camera's name, the folder its pictures lie in (`.`: the tree), the path below that."""

    name: str
    folder: str
    below: str


class CameraPattern:
    """What a camera's name is made of: `{1}` a folder, `{n1}` a part of the file's name."""

    def __init__(self, text: str = "{1}") -> None:
        """Read a pattern.

        Raises:
            ValueError: it is none.
        """
        self.text = text
        fields = _FIELD.findall(text)
        if not fields or re.search(r"[{}]", _FIELD.sub("", text)):
            raise ValueError(
                "a pattern has {1}, {2} … for folders and {n1}, {n2} … for parts of the name, and no other { or }"
            )
        self.depth = max((int(number) for kind, number in fields if not kind), default=0)
        """Of the folder that a camera's pictures lie in: 1, directly below the tree."""

    def camera(self, path: str) -> CameraPath | None:
        """Return whose picture this is; None: the path has not those parts."""
        if self.text == "{1}":
            top, slash, below = path.partition("/")
            return CameraPath(top, top, below) if slash else None
        *folders, name = path.split("/")
        parts = re.split(r"[-_ .]+", PICTURE_SUFFIX.sub("", name).strip("-_ .")) if "{n" in self.text else []
        try:
            found = _FIELD.sub(lambda match: (parts if match[1] else folders)[int(match[2]) - 1], self.text)
        except IndexError:
            return None
        below = "/".join([*folders[self.depth :], name])
        return CameraPath(found.replace("/", " "), "/".join(folders[: self.depth]) or ".", below)


@dataclass(frozen=True)
class PathRules:
    """What the settings say about paths."""

    ignore: tuple[str, ...] = ()
    camera: CameraPattern = field(default_factory=CameraPattern)
    time_formats: tuple[TimeFormat, ...] = ()
    data_dir: bytes = b""
    """The data dir, if it lies below the tree: thumbnails and kept pictures there are no uploads."""

    @cached_property
    def _ignored(self) -> tuple[re.Pattern[bytes], tuple[str, ...]]:
        globs = [r"\.[^/]*", *(f"(?i:{re.escape(name)})" for name in IGNORED_NAMES), *map(_glob, self.ignore)]
        names = ("hidden", *IGNORED_NAMES, *self.ignore)
        ways = [f"({'' if '/' in name else '(?:.*/)?'}{glob})" for name, glob in zip(names, globs, strict=True)]
        return re.compile(os.fsencode(f"(?s:(?:{'|'.join(ways)})(?:/|$))")), names

    def ignored_by(self, path: bytes) -> str | None:
        """Return the glob that this path, or a folder above it, matches; `hidden` for a name that begins with a dot."""
        if self.data_dir and (path + b"/").startswith(self.data_dir + b"/"):
            return "data dir"
        regex, names = self._ignored
        if not (self.ignore or _MARKS.search(path)):
            return None
        match = regex.match(path)
        return names[(match.lastindex or 1) - 1] if match else None


def _glob(text: str) -> str:
    """Translate a glob: without `/` it is a name at any depth, else a path from the tree down; `**` is any folders."""
    special = {"**/": "(?:.*/)?", "*": "[^/]*", "**": ".*", "?": "[^/]"}
    out = ""
    for part, negated, chars in re.findall(r"(\[(!?)([^/]?[^]/]*)\]|\*\*/|\*+|.)", text.strip("/"), re.DOTALL):
        chosen = re.sub(r"([\[\]\\^&~|])", r"\\\1", chars)
        out += f"[{'^' * bool(negated)}{chosen}]" if chosen else special.get(part) or re.escape(part)
    return out
