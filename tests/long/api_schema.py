"""The API against its own OpenAPI document: `python tests/long/api_schema.py [OPTION …]` runs schemathesis, with its options if given.

Makes a record with events, incidents, alerts of the system and a bad picture, serves it with a token, and sends what the document allows and
what it does not: nothing may answer 5xx, and every answer has a status, type and form that the document has. Schemathesis is installed into an
environment apart. Exit code 1 if it finds anything.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from tests.support.api_record import Home, serve, story  # noqa: E402
from tests.support.linking import link  # noqa: E402

VERSION, TOKEN = "4.32.5", "correct-horse-battery"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,"
    "negative_data_rejection,ignored_auth"
)  # not positive_data_acceptance: no document can say which cursors, folders and pairs of cameras are refused with a 422; and not
# unsupported_method: a PATCH of /api/events/export is that of an event with this id, so a 422
CONFIG = '[checks.negative_data_rejection]\nexpected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "414", "422", "429", "5xx"]\n'
STREAMS = r"/api/live"  # it has no end


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
        subprocess.run([f"{folder}/venv/bin/pip", "install", "-q", f"schemathesis=={VERSION}"], check=True)
        Path(folder, "schemathesis.toml").write_text(CONFIG)
        home = story(Home(Path(folder) / "home"))
        home.beat()
        link(home.record)
        with serve(home.settings(HEARTHWATCH_API_TOKEN=TOKEN)) as served:
            command = [
                f"{folder}/venv/bin/schemathesis", "run", f"{served.url}/openapi.json", "-H", f"Authorization: Bearer {TOKEN}",
                "--exclude-path-regex", STREAMS, "--checks", CHECKS, *(sys.argv[1:] or ["--max-examples", "50"]),
            ]  # fmt: skip
            done = subprocess.run(command, cwd=folder)
        home.close()
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
