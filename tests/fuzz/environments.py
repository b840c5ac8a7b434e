"""Settings out of any environment and any `.env`, through `hearthwatch.schemas.settings.load`.

Settings, or one `SettingsError` that names each mistake and shows no secret.
"""

from hearthwatch.schemas.settings import Settings, SettingsError, load

NAME = "settings"
PEAK_BYTES_MAX = 100_000_000
SECRET, TOKEN = "hunter2hunter2", "sesame-sesame"
VALUES = ("", " ", "0", "1", "-1", "1e400", "nan", "inf", "-0", "true", "yes", "None", "null", "9" * 5000, "1_000", "٣", "0x10", "~", "~nobody_here", "~nobody_here/x", "/", "..", "a" * 100_000, "\x00", "a\x00b", "\udcff", "caf\udce9", "\ud800", "é", "*", ",,,", "person,,person", "sqlite:///", "sqlite:////", "sqlite://x", "sqlite:///a?b", "sqlite+aiosqlite:///x.db", "postgresql://u:" + SECRET + "@h/db", "redis://:" + SECRET + "@h:6379/0", "redis://h:99999", "redis://[::1", "http://[", "http://]:8", "http://h:port", "http://u:" + SECRET + "@h:1:2", "unix:///x", "http://\u2100", "https://é.example", "Europe/Berlin", "../etc/passwd", "/etc/localtime", "Europe", "UTC\x00", "cuda:0", "cuda:99999999999", "${HOME}", "auto", "::", "a b", "http://a,http://b", "$" * 3000, "a" * 300, "\n", "[1]", "{}", "2026-11-22")  # fmt: skip


class Environments:
    def __init__(self, folder):
        self.env = folder / ".env"
        self.names = [name.upper() for name in Settings.model_fields]

    def make(self, rnd):
        """(environment, bytes of `.env` or None)"""
        chosen = rnd.sample(self.names, rnd.choice([0, 1, 1, 2, 5, len(self.names)]))
        given = {rnd.choice([name, name, name.lower()]): rnd.choice(VALUES) for name in chosen}
        if rnd.random() < 0.5:
            given["HEARTHWATCH_API_TOKEN"] = TOKEN
        file = None
        if rnd.random() < 0.5:
            lines = [f"{rnd.choice(['', 'export ', ' '])}{rnd.choice(self.names)}{rnd.choice(['=', ' = ', ''])}{rnd.choice(VALUES)}" for _ in range(rnd.choice([1, 5, 300]))]  # fmt: skip
            file = "\n".join(lines).encode("utf-8", "surrogatepass")
            file = rnd.choice(
                [
                    file,
                    file,
                    b"\xef\xbb\xbf" + file,
                    rnd.randbytes(300),
                    b'A="' + file,
                    file + b"\nB='",
                    b"A=${A}\n" * 200,
                ]
            )
        return given, file

    def run(self, case):
        given, file = case
        if file is None:
            self.env.unlink(missing_ok=True)
        else:
            self.env.write_bytes(file)
        try:
            loaded = load(self.env, given)
        except SettingsError as error:
            assert error.mistakes and all(line.strip() for line in error.mistakes)
            assert not any(secret in text for secret in (SECRET, TOKEN) for text in (str(error), repr(error)))
            str(error).encode("utf-8", "backslashreplace")
            return error.mistakes[0].partition(" ")[0]
        assert TOKEN not in repr(loaded)
        assert loaded.database_path and loaded.analysis in (True, False)
        return None
