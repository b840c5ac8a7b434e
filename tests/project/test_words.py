"""Product text uses the field's words: a list of words that it must not contain, and how names are chosen.

`python -m tests.project.test_words [PATH …]` lists every place, or those below the paths.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("api", "cli", "demo", "flows", "gpu", "hearthwatch", "record", "schemas", "sinks", "sources", "stages")
TEXT = (*ROOMS, "deploy", "docs", "examples", "README.md", "CONTRIBUTING.md", ".env.example", "flow.py", "scripts")
KINDS = {".py", ".md", ".toml", ".html", ".js", ".css", ".sql", ".service", ".yaml", ".example", ""}
FROZEN = ("record/migrations/", "examples/0_1/")  # numbered migrations are never edited

# What a stranger would not search for, and what to write instead.
WORDS = {
    r"told|tell(s|ing)?(?!\(\))|said": "report, publish, send, say … (imperative, literal)",
    r"nobody|somebody|anybody|everybody|whoever": "no one is needed: name the reader, the client, the caller",
    r"mend(s|ed|ing)?": "fix",
    r"amiss": "wrong, a problem",
    r"manners": "policy",
    r"go(es|ing)? on|went on": "continue, in progress",
    r"look(s|ed|ing)? at": "process, read, inspect",
    r"(give|gives|given|gave|giving) back": "release, return",
    r"of (its|one's|their|your) own": "own …, a separate …",
    r"forg(et|ets|ot|otten|etting)": "delete",
    r"let(s)? go( of)?": "release, close",
    r"com(e|es|ing) to an end": "end, finish",
    r"in hand|out of hands?": "in flight",
    r"desk": "in flight",
    r"anew": "again",
    r"thrice|nought|hither|whence|thereby|wherein": "plain words",
}
PATTERN = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)


def places(*below: str) -> Iterator[tuple[Path, int, str, str]]:
    """File, line number, word and line of every place."""
    listed = subprocess.run(["git", "ls-files", *(below or TEXT)], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_symlink() or path.suffix not in KINDS or name.startswith(FROZEN):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in PATTERN.finditer(line):
                yield Path(name), number, match[0], line.strip()


def public_classes() -> dict[str, list[str]]:
    """Name → files of every top-level class of the product whose name has no underscore in front."""
    found = defaultdict(list)
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if path.is_relative_to(ROOT / "hearthwatch"):
                continue
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(str(path.relative_to(ROOT)))
    return found


def twice() -> dict[str, list[str]]:
    return {name: files for name, files in public_classes().items() if len(files) > 1}


def stems() -> dict[str, list[str]]:
    """Stem → files of every module of the product, `cli/` aside: its files are named after their commands."""
    found = defaultdict(list)
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if path.stem not in ("__init__", "__main__") and not name.startswith(("hearthwatch/", "cli/")):
                found[path.stem].append(name)
    return {stem: files for stem, files in found.items() if len(files) > 1}


# Rooms and files that are clean; each that becomes clean is added, until the list is TEXT.
CLEAN = (
    "api",
    "demo",
    "deploy",
    "flows",
    "gpu",
    "hearthwatch",
    "record",
    "scripts",
    "sinks",
    "sources",
    "stages",
    "flow.py",
    ".env.example",
    "CONTRIBUTING.md",
    "README.md",
    "docs",
    "examples",
)
# Class names that still stand twice; only ever shorter.
TWICE: set[str] = set()
# One meaning in two rooms: what the API serves and a sink writes is named after the thing in the record.
SAME_MEANING = {
    "cameras": "rows of `cameras`, and the routes about them",
    "conditions": "rows of `conditions`: how they are written and read (record/read)",
    "detections": "rows of `detections`: how they are read (record/read) and served (api/routes)",
    "events": "rows of `events`: how they are written, read (record/read) and served (api/routes)",
    "incidents": "rows of `incidents`: how they are written, read (record/read) and served (api/routes)",
    "feedback": "the answers of the owner: their rows, and their routes",
    "journal": "what a journal holds, and the sink that writes it",
    "thumbnails": "how a thumbnail is drawn and found, and the sink that draws them",
}


def test_product_text_uses_the_words_of_the_field():
    assert [f"{path}:{number}: {word}" for path, number, word, _ in places(*CLEAN)] == []


def test_a_class_name_stands_once_in_the_product():
    assert twice().keys() <= TWICE


def test_a_module_name_has_one_meaning():
    assert stems().keys() <= SAME_MEANING.keys(), stems()


def test_the_package_links_every_room():
    package = ROOT / "hearthwatch"
    assert {link.name for link in package.iterdir() if link.is_symlink()} == {*ROOMS} - {"hearthwatch"}
    assert all((package / room).resolve() == ROOT / room for room in {*ROOMS} - {"hearthwatch"})


if __name__ == "__main__":
    found = list(places(*sys.argv[1:]))
    for path, number, word, line in found:
        print(f"{path}:{number}: {word}: {line[:150]}")
    print(Counter(path.parts[0] for path, *_ in found), len(found))
    print(
        "class names used twice:", len(twice()), *(f"\n  {name}: {', '.join(files)}" for name, files in twice().items())
    )
