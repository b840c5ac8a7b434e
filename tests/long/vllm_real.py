"""The judge chain against a real vLLM on this CPU, with a tiny Nemotron of random weights: schema-valid verdicts are stored.

    scripts/setup-vllm && HEARTHWATCH_TEST_VLLM=1 .venv/bin/pytest tests/long/vllm_real.py -s

Opt-in: vLLM takes 2.5 GB of disk and 42 to 100 s to start. HEARTHWATCH_VLLM names another vllm command than .venv-vllm's.
"""

import os
import subprocess
import sys
import time
from datetime import UTC
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parents[2])]

from hearthwatch.record.verdicts import Verdicts  # noqa: E402
from hearthwatch.stages import prompt  # noqa: E402
from hearthwatch.stages.rules import RulesJudge  # noqa: E402
from tests.support.commands import read_until  # noqa: E402
from tests.support.events import Cameras  # noqa: E402
from tests.support.ports import free_url  # noqa: E402

VLLM = Path(os.environ.get("HEARTHWATCH_VLLM") or ROOT / ".venv-vllm/bin/vllm")
T = 1_790_000_000
SMALL = ["--enforce-eager", "--max-num-seqs", "16", "--enable-prompt-tokens-details"]

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("HEARTHWATCH_TEST_VLLM"), reason="set HEARTHWATCH_TEST_VLLM=1 after scripts/setup-vllm"
    ),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """`hearthwatch llm` itself starts it, and has proven that it enforces schemas when this returns."""
    folder, url = tmp_path_factory.mktemp("tiny"), free_url()
    subprocess.run([VLLM.with_name("python"), ROOT / "tests/long/tiny_nemotron.py", folder], check=True)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "NEMOTRON_URL": url, "HEARTHWATCH_VLLM": str(VLLM), "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }  # fmt: skip
    command = [
        sys.executable,
        "-c",
        "from hearthwatch.cli import main; main()",
        "llm",
        "--model",
        str(folder),
        "--",
        *SMALL,
    ]
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        read_until(process, "ready at")
        print(f"\nvLLM ready and proven after {time.monotonic() - began:.0f} s")
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_random_weights_give_verdicts_that_fit_the_schema_and_are_stored(url, tmp_path):
    cameras = Cameras(tmp_path / "hearthwatch.db").see(*(T + 100 * n for n in range(20))).close()
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NEMOTRON_URL": url, "HEARTHWATCH_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "from hearthwatch.cli import main; main()", "replay"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )  # fmt: skip
    print(f"{done.stdout}{done.stderr}{time.monotonic() - began:.1f} s for 20 events")
    # Random weights ramble: an answer that does not end within its tokens is no verdict, and never becomes one; nor is one
    # of which no sentence follows from the line.
    judged = cameras.record.rows("SELECT id, risk_score, evidence, summary FROM events WHERE analyzer = 'nemotron'")
    assert judged
    for event, score, evidence, summary in judged:
        assert 0 <= score <= 100 and summary and evidence == f"[{event * 512}]"


def test_the_static_prefix_is_cached(url, tmp_path):
    Cameras(tmp_path / "r.db").see(T, T + 100).close()
    usages = []
    from hearthwatch.record import Record

    for case in Verdicts(Record(tmp_path / "r.db"), UTC).due(2):
        body = {
            "model": "nemotron",
            "messages": prompt.messages(prompt.question(case, RulesJudge, UTC)),
            "max_tokens": 2,
            "temperature": 0,
        }
        usages.append(httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()["usage"])
    print(usages)
    assert usages[1]["prompt_tokens_details"]["cached_tokens"] > usages[1]["prompt_tokens"] / 2
