"""Flow files, random and mutated from the built-in one, through the real loader, registry and check.

A graph without mistakes, or all its mistakes as text; nothing is raised and nothing is started.
"""

from hearthwatch.flows.graph import DEFAULT, Graph
from hearthwatch.flows.registry import names

NAME = "flow"
PEAK_BYTES_MAX = 300_000_000
VALUES = ('""', '"x"', "0", "-1", "1e400", "nan", "inf", "true", "[]", "[[]]", "{}", "{a=1}", "1979-05-27", "07:32:00", "0x10", "9" * 5000, '"${HOME}"', '"${NOPE}"', '"${"', '"../x"', '"\\u0000"', '"a.b:C"', '"os:system"', '"json:dumps"', '["a", 1]', '"files"', '"feed"', '["files","batch"]', "99999999999999999999", '"http://u:p@h:99999"', '"~nobody_here/x"', '"' + "y" * 100_000 + '"')  # fmt: skip


class Flow:
    def __init__(self, folder):
        self.path = folder / "flow.toml"
        self.lines = [line for line in DEFAULT.read_text().splitlines() if line and not line.startswith("# ")]
        self.uses = sorted(names())

    def make(self, rnd):
        lines = list(self.lines)
        for _ in range(rnd.choice([0, 1, 1, 2, 3, 8, 40])):
            rnd.choice(
                (
                    self._drop,
                    self._value,
                    self._value,
                    self._name,
                    self._use,
                    self._copy,
                    self._swap,
                    self._option,
                    self._comment,
                )
            )(lines, rnd)
        data = "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"
        if rnd.random() < 0.1:
            data = rnd.choice([
                b"a = " + b"[" * rnd.choice([50, 100_000]), b"[" + b"a." * rnd.choice([100, 50_000]) + b"b]\nuse = 'files'\n", b"", b"\xff\xfe\n", b"\xef\xbb\xbf" + data,
                data.replace(b"\n", b"\r\n"), rnd.randbytes(200), data * 2, b"a=" + b"{a=" * 60_000, data[: rnd.randrange(len(data))], b"[[files]]\nuse='files'\n", b"[files.detect]\nuse='files'\n",
                b"[files]\nuse = 'files'\nx = " + b"[" * 300 + b"]" * 300 + b"\n", b"[files]\nuse = 'files'\nx" + b".x" * 5000 + b" = '${A}'\n",
            ])  # fmt: skip
        return data

    def run(self, data):
        self.path.write_bytes(data)
        mistakes = Graph.from_toml(self.path).check()
        for line in mistakes:
            assert isinstance(line, str) and line.strip()
            line.encode()
        return mistakes[0].partition(":")[2] or mistakes[0] if mistakes else None

    def _drop(self, lines, rnd):
        if lines:
            del lines[rnd.randrange(len(lines))]

    def _value(self, lines, rnd):
        if places := [n for n, line in enumerate(lines) if "=" in line]:
            n = rnd.choice(places)
            lines[n] = lines[n].partition("=")[0] + "= " + rnd.choice(VALUES)

    def _name(self, lines, rnd):
        n = rnd.randrange(len(lines) + 1)
        lines.insert(
            n,
            rnd.choice(
                [
                    "[x]",
                    "[x.y]",
                    "[[x]]",
                    "[files]",
                    "['a b']",
                    '[""]',
                    "[feed]",
                    "[batch_errors]",
                    "[",
                    "]",
                    "[\u202e]",
                    "['\\ud800']",
                ]
            ),
        )

    def _use(self, lines, rnd):
        lines.insert(
            rnd.randrange(len(lines) + 1),
            f'use = "{rnd.choice([*self.uses, "nope", "hearthwatch.schemas:Sink", "tests.support.null_detector:NullDetector", "tests.support.own_sink:Lines", ":", "a:", "."])}"',
        )

    def _copy(self, lines, rnd):
        if lines:
            start = rnd.randrange(len(lines))
            lines[start:start] = lines[start : start + rnd.randint(1, 6)]

    def _swap(self, lines, rnd):
        rnd.shuffle(
            lines
        ) if rnd.random() < 0.2 else lines.reverse() if rnd.random() < 0.1 else lines.sort() if rnd.random() < 0.1 else None

    def _option(self, lines, rnd):
        key = rnd.choice(
            [
                "from",
                "only",
                "use",
                "chanel",
                "url",
                "token",
                "path",
                "size",
                "threads",
                "base_path",
                "data_dir",
                "window_seconds",
                "interval_seconds",
                "model_config",
                "accepts",
                "__class__",
                "build",
            ]
        )
        lines.insert(rnd.randrange(len(lines) + 1), f"{key} = {rnd.choice(VALUES)}")

    def _comment(self, lines, rnd):
        if lines:
            n = rnd.randrange(len(lines))
            lines[n] = (
                lines[n].lstrip("# ") if lines[n].startswith("#") else lines[n][: rnd.randrange(len(lines[n]) + 1)]
            )
