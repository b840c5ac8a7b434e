"""The judge chain against a real vLLM on this CPU, with tiny models of random weights: schema-valid verdicts are stored.

A Nemotron is given boxes, an Idefics3 crops of pictures.

    scripts/setup-vllm && HEARTHWATCH_TEST_VLLM=1 .venv/bin/pytest tests/long/vllm_real.py -s

Opt-in: vLLM takes 2.5 GB of disk and 42 to 100 s to start. HEARTHWATCH_VLLM names another vllm command than .venv-vllm's.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parents[2])]

from hearthwatch.record.verdicts import Verdicts  # noqa: E402
from hearthwatch.schemas import Detection  # noqa: E402
from hearthwatch.stages import prompt  # noqa: E402
from hearthwatch.stages.llm_client import Client  # noqa: E402
from hearthwatch.stages.rules import RulesJudge  # noqa: E402
from tests.support.commands import read_until  # noqa: E402
from tests.support.events import Cameras  # noqa: E402
from tests.support.ports import free_url  # noqa: E402

VLLM = Path(os.environ.get("HEARTHWATCH_VLLM") or ROOT / ".venv-vllm/bin/vllm")
HEARTHWATCH = [sys.executable, "-c", "from hearthwatch.cli import main; main()"]
T = 1_790_000_000
SMALL = ["--enforce-eager", "--max-num-seqs", "16"]

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("HEARTHWATCH_TEST_VLLM"), reason="set HEARTHWATCH_TEST_VLLM=1 after scripts/setup-vllm"
    ),
    pytest.mark.timeout(900),
]


@contextmanager
def served(script, folder):
    """`hearthwatch llm` itself starts it, and has proven that it enforces schemas when this is entered."""
    url = free_url()
    subprocess.run([VLLM.with_name("python"), ROOT / "tests/long" / script, folder], check=True)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "NEMOTRON_URL": url, "HEARTHWATCH_VLLM": str(VLLM), "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }  # fmt: skip
    command = [*HEARTHWATCH, "llm", "--model", str(folder), "--", *SMALL]
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        printed = read_until(process, "ready at")
        print(f"\nvLLM ready and proven after {time.monotonic() - began:.0f} s")
        yield url, printed
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with served("tiny_nemotron.py", tmp_path_factory.mktemp("tiny")) as (url, _):
        yield url


def replay(folder, url, **environment):
    """Judge all events of a record again; how long that took."""
    began = time.monotonic()
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "NEMOTRON_URL": url, "HEARTHWATCH_DATA_DIR": str(folder),
        "FOSCAM_BASE_PATH": str(folder / "uploads"), **environment,
    }  # fmt: skip
    done = subprocess.run([*HEARTHWATCH, "replay"], cwd=folder, env=environment, capture_output=True, text=True)
    print(f"{done.stdout}{done.stderr}{time.monotonic() - began:.1f} s")


def jpeg(colour):
    picture, out = Image.new("RGB", (640, 360), colour), BytesIO()
    picture.save(out, "JPEG")
    return out.getvalue()


def reads(url):
    async def ask():
        client = Client(url, "nemotron", 60)
        try:
            return await client.reads_pictures()
        finally:
            await client.close()

    return asyncio.run(ask())


def test_crops_are_judged_by_a_model_that_takes_pictures(tmp_path, monkeypatch):
    with served("tiny_vision.py", tmp_path / "tiny-vl") as (url, printed):
        assert '--limit-mm-per-prompt \'{"image":6,"video":0}\'' in printed and "nemotron_v3" not in printed
        assert "reads no pictures" in printed  # random weights guess, one word of 24
        cameras = Cameras(tmp_path / "hearthwatch.db")
        for n in range(20):
            for second in range(4):
                box = Detection("person", 0.9, (100 + 60 * second, 120, 50, 140))
                cameras.see(T + 100 * n + second, boxes=[box], picture=jpeg(f"hsl({n * 18},40%,{30 + second * 10}%)"))
        cameras.close()
        replay(tmp_path, url, HEARTHWATCH_NEMOTRON_PICTURES="4")
        monkeypatch.setattr("hearthwatch.stages.llm_client.PROBE_WORDS", 1)
        assert reads(url)  # with one word to choose: it takes pictures, and the answer keeps to the schema
    judged = cameras.record.dicts("SELECT * FROM events WHERE analyzer = 'nemotron'")
    print(f"{len(judged)} of 20 judged")
    assert judged
    for row in judged:
        kept = json.loads(row["analysis"])
        assert row["prompt_version"] == "v3" and row["picture_verdict"] in ("confirmed", "rejected", "unclear")
        assert 3 <= len(kept["shown"]) <= 4 and kept["tracks"]["1"]["sees"].keys() == {
            str(n) for n in range(2, len(kept["shown"]) + 1)
        }
        assert kept["tokens"]["prompt"] > 67 * len(kept["shown"])
    tokens = [json.loads(row["analysis"])["tokens"] for row in judged]
    print(tokens[0], tokens[-1])
    assert any(used["cached"] for used in tokens)


def test_a_model_without_eyes_fails_the_probe_though_it_has_one_word_to_choose(url, monkeypatch):
    monkeypatch.setattr("hearthwatch.stages.llm_client.PROBE_WORDS", 1)
    assert reads(url) is False


def test_random_weights_give_verdicts_that_fit_the_schema_and_are_stored(url, tmp_path):
    cameras = Cameras(tmp_path / "hearthwatch.db").see(*(T + 100 * n for n in range(20))).close()
    replay(tmp_path, url)
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
