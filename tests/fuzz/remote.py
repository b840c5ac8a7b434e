"""Answers of a remote detector, through the real client over real HTTP.

Detections inside the picture, or an error with a reason; what is no answer at all is asked for again until there is one.
"""

from hearthwatch.gpu.decode import open_picture
from hearthwatch.gpu.remote import RemoteDetector
from tests.fuzz.answers import Server, damaged, http
from tests.fuzz.pictures import bases

NAME = "remote"
PEAK_BYTES_MAX = 500_000_000  # four megabytes of answer, all of it brackets
REASON_MAX = 1000


class Remote:
    def __init__(self, folder):
        path = folder / "picture.jpg"
        path.write_bytes(bases()[0])
        self.opened = open_picture(path)
        self.server = Server()
        self.server.then = (*http_ok(b'{"detections":[]}'), False)
        self.detector = RemoteDetector(self.server.url, 0.25, pauses_seconds=(0.001,), timeout_seconds=0.5)

    def make(self, rnd):
        box = {"x": rnd.randint(0, 40), "y": rnd.uniform(0, 40), "width": rnd.randint(1, 30), "height": 8}
        rows = [{"class": "person", "confidence": rnd.random(), "bbox": rnd.choice([box, [*box.values()]])} for _ in range(rnd.choice([0, 1, 3, 600]))]  # fmt: skip
        body = damaged(rnd, {"detections": rows})
        return http(body, rnd)

    def run(self, answer):
        self.server.answer = answer
        (looked,) = self.detector.infer([self.opened])
        if looked.error:
            assert len(looked.error) <= REASON_MAX, f"a reason of {len(looked.error)} characters"
            looked.error.encode()
            assert not looked.detections
            return looked.error.partition(": ")[2]
        for found in looked.detections:
            x, y, width, height = found.bbox
            assert 0 <= x < x + width <= 64 and 0 <= y < y + height <= 48 and 0.25 <= found.confidence <= 1
            assert all(type(side) is int for side in found.bbox) and found.object_type.encode() is not None
        return None


def http_ok(body):
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body, 0.0
