"""The detect stage with detectors that only wait: its threads, its order and its batches, and what the null detector sees."""

import os
import time

from hearthwatch.gpu.batch_queue import BatchQueue
from hearthwatch.gpu.detector import InferenceResult
from hearthwatch.schemas.testing import frame
from hearthwatch.stages.detect import DetectWorker, RtDetr
from tests.support.null_detector import NullDetector


class LaneDetector(RtDetr):
    lanes: int = 1
    seconds: float = 0.0
    """What a picture takes."""

    def build(self, context):
        return _Worker(self, context)


class _Worker(DetectWorker):
    def open(self):
        self.state.limit = self._limit
        lanes = [Sleeper(self.options.seconds, n) for n in range(1, self.options.lanes + 1)]
        self._use(BatchQueue(lanes), lanes, len(lanes))


class Sleeper:
    """What a `Detector` is to the stage; `n` at once, so that each lane makes other batches."""

    model, warnings = "null", ()

    def __init__(self, seconds, n):
        self.seconds, self.batch_max, self.at_once = seconds, n, 2 * n

    def describe(self):
        return f"a lane of {self.batch_max}"

    def infer(self, pictures):
        assert 0 < len(pictures) <= self.at_once
        if any(b"abort" in picture.data for picture in pictures):
            os.abort()
        time.sleep(self.seconds * len(pictures))
        looked = NullDetector().process([frame(n, opened=picture) for n, picture in enumerate(pictures)])
        return [InferenceResult(one.detections, None, 0.0) for one in looked]

    def close(self):
        pass
