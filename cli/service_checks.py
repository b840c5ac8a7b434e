"""What Hearthwatch leans on, asked for real: the detector's device and weights, and the services that the settings name.

Each check is a function of the settings and yields findings. A service is waited for `ANSWER_SECONDS` at most, and no secret
of its URL is shown.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from hearthwatch.cli.machine_checks import Finding
from hearthwatch.gpu import DetectorError
from hearthwatch.gpu.boxes import DetectionFilter
from hearthwatch.gpu.loading import MODEL_FILES, MODEL_TYPES, YARD
from hearthwatch.gpu.remote import InvalidResponseError, parse_detections
from hearthwatch.schemas.settings import Settings, masked

ANSWER_SECONDS = 5.0


def torch(s: Settings) -> Iterator[Finding]:
    """The device that was asked for can be used, and no card lies idle."""
    if s.rtdetr_url:
        return
    import torch

    from hearthwatch.gpu.loading import NVIDIA_DRIVER, choose_device, cuda_problem

    try:
        device = choose_device(s.hearthwatch_device)
    except DetectorError as error:
        yield Finding("wrong", "torch", str(error))
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    if s.hearthwatch_device == "auto" and device.type == "cpu" and NVIDIA_DRIVER.exists():
        yield Finding(
            "wrong",
            "torch",
            f"there is an NVIDIA card, but {cuda_problem()}: install the CUDA build of torch (docs/install.md)",
        )
    else:
        yield Finding("ok", "torch", f"torch {torch.__version__} detects on {device} ({name})")


def model(s: Settings) -> Iterator[Finding]:
    """The detector's weights are here, or can be fetched."""
    name = s.hearthwatch_detector_model
    if s.rtdetr_url:
        return
    folder = YARD if name == "yard" else Path(name).expanduser()
    if name == "yard" or folder.is_dir():
        missing = [file for file in MODEL_FILES if not (folder / file).is_file()]
        if missing:
            yield Finding("wrong", "model", f"{folder} has no {', '.join(missing)}: copy them there")
        else:
            note = ": the demo's, for drawn pictures only; set HEARTHWATCH_DETECTOR_MODEL for real ones"
            yield Finding(
                "note" if name == "yard" else "ok", "model", f"{name}{note if name == 'yard' else ' is complete'}"
            )
        return
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        missing = [file for file in MODEL_FILES if not isinstance(try_to_load_from_cache(name, file), str)]
    except HFValidationError:
        kinds = " or ".join(MODEL_TYPES)
        yield Finding("wrong", "model", f"{name} is no folder and no hub id: name one with an {kinds} in it, or `yard`")
        return
    if not missing:
        yield Finding("ok", "model", f"{name} is in the hub's cache")
        return
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    said = _answer(
        lambda: httpx.head(f"{hub}/{name}/resolve/main/config.json", timeout=ANSWER_SECONDS, follow_redirects=True)
    )
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    if offline or isinstance(said, str) or not said.is_success:
        why = (
            "HF_HUB_OFFLINE is set"
            if offline
            else said
            if isinstance(said, str)
            else f"{hub} answers {said.status_code}"
        )
        yield Finding(
            "wrong", "model", f"{name} is not here and cannot be fetched ({why}): copy {', '.join(MODEL_FILES)} into a folder and name it in HEARTHWATCH_DETECTOR_MODEL"
        )  # fmt: skip
    else:
        yield Finding("note", "model", f"{name} will be fetched from {hub} at the first start")


def detector(s: Settings) -> Iterator[Finding]:
    """The RT-DETR service looks at a picture."""
    if not s.rtdetr_url:
        return
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 60)).save(picture, "JPEG")
    file, where = ("probe.jpg", picture.getvalue(), "image/jpeg"), masked("RTDETR_URL", s.rtdetr_url)
    said = _answer(lambda: httpx.post(f"{s.rtdetr_url}/detect", files={"file": file}, timeout=ANSWER_SECONDS))
    if isinstance(said, str) or not said.is_success:
        why = said if isinstance(said, str) else f"answers {said.status_code}"
        yield Finding("wrong", "detector", f"{where}: {why}: start the service, or unset RTDETR_URL to detect here")
        return
    try:
        parse_detections(said.content, DetectionFilter(0.0, frozenset("*"), None), 64, 48)
    except InvalidResponseError as error:
        yield Finding("wrong", "detector", f"{where} {error}: is it an RT-DETR service?")
    else:
        yield Finding("ok", "detector", f"{where} detects")


def redis(s: Settings) -> Iterator[Finding]:
    """Redis answers."""
    if not s.redis_url:
        yield Finding("ok", "redis", "REDIS_URL is not set: events are not published, everything else works")
        return
    from redis import Redis, RedisError
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    where, seconds = masked("REDIS_URL", s.redis_url), ANSWER_SECONDS
    patience = {"socket_connect_timeout": seconds, "socket_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
    try:
        with Redis.from_url(s.redis_url, **patience) as client:
            version = client.info("server")["redis_version"]
    except (RedisError, OSError) as error:
        yield Finding("wrong", "redis", f"{where}: {error}: start Redis, mend REDIS_URL, or unset it")
    else:
        yield Finding("ok", "redis", f"{where}: Redis {version}")


def nemotron(s: Settings) -> Iterator[Finding]:
    """The language model's server answers and serves that model."""
    if not s.nemotron_url:
        yield Finding("ok", "nemotron", "NEMOTRON_URL is not set: rules alone judge")
        return
    base, where = s.nemotron_url.rstrip("/").removesuffix("/v1"), masked("NEMOTRON_URL", s.nemotron_url)
    said = _answer(lambda: httpx.get(f"{base}/v1/models", timeout=ANSWER_SECONDS))
    try:
        served = [] if isinstance(said, str) else [str(one["id"]) for one in said.raise_for_status().json()["data"]]
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        said, served = "it answers, but not as vLLM does", []
    if isinstance(said, str):
        yield Finding("wrong", "nemotron", f"{where}: {said}: start it with `hearthwatch llm`, or unset NEMOTRON_URL")
    elif s.hearthwatch_nemotron_model not in served:
        names = ", ".join(served) or "nothing"
        yield Finding(
            "wrong", "nemotron", f"{where} serves {names}, not {s.hearthwatch_nemotron_model}: set HEARTHWATCH_NEMOTRON_MODEL, or start it with --served-model-name"
        )  # fmt: skip
    else:
        yield Finding("ok", "nemotron", f"{where} serves {s.hearthwatch_nemotron_model}")


def _answer(ask: Callable[[], httpx.Response]) -> httpx.Response | str:
    """The answer, or why there is none."""
    try:
        return ask()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or f"no answer within {ANSWER_SECONDS:g} s"
