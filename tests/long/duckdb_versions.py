"""All views and the questions of docs/analytics.md in each DuckDB that people have: `python tests/long/duckdb_versions.py [VERSION …]`.

Makes a data dir, writes the catalogue with the DuckDB that is installed, then installs each version into a separate environment and
lets it query, while a writer replaces the catalogue again and again. Exit code 1 if one of them cannot.
"""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from hearthwatch.record.lake.views import write_catalogue  # noqa: E402
from hearthwatch.schemas.items import Detection  # noqa: E402
from tests.record.test_analytics import QUERIES  # noqa: E402
from tests.support.data_dir import DAY, House, S  # noqa: E402

VERSIONS = ("1.1.3", "1.2.2", "1.3.2", "1.4.4", "1.5.0")
ASK = """
import duckdb, json, sys
queries = json.load(open(sys.argv[2]))
for _ in range(10):
    with duckdb.connect(sys.argv[1], read_only=True) as db:
        views = [name for name, in db.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
        for query in [*(f"SELECT count(*) FROM {name}" for name in views), *queries]:
            db.execute(query).fetchall()
print(duckdb.__version__, len(views), "views,", len(queries), "questions: ok")
"""


def main() -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder) / "house")
        for day in range(12):
            house.see("front_door", day * DAY // S, boxes=(Detection("person", 0.9, (1, 2, 3, 4)),))
        house.close_events(13 * DAY // S).export()
        house.close()
        questions, stop = Path(folder) / "questions.json", threading.Event()
        questions.write_text(json.dumps(list(QUERIES.values())))
        writer = threading.Thread(target=rewrite, args=(house.data, stop))
        writer.start()
        for version in sys.argv[1:] or VERSIONS:
            home = Path(folder) / version
            subprocess.run([sys.executable, "-m", "venv", home], check=True)
            subprocess.run([home / "bin/pip", "install", "-q", f"duckdb=={version}", "pytz"], check=True)
            done = subprocess.run([home / "bin/python", "-c", ASK, house.data / "analytics.duckdb", questions])
            failed += done.returncode != 0
        stop.set()
        writer.join()
    return 1 if failed else 0


def rewrite(data: Path, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        (data / "lake" / ".views").unlink()
        write_catalogue(data)


if __name__ == "__main__":
    sys.exit(main())
