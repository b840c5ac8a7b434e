"""A judge that is a function of an event's facts, for tests of what surrounds the rules."""

from hearthwatch.schemas.case import Facts, Signature


class _Whole:
    def __init__(self, function, surroundings):
        self.function, self.surroundings, self.seen, self.pictures = function, surroundings, [], 0

    def add(self, at, objects, boxes):
        self.seen += boxes()
        self.pictures += 1

    def score(self):
        """Of the pictures so far; the camera is unknown."""
        first, last = self.seen[0].at, self.seen[-1].at
        facts = Facts(self.seen[0].frame_id, "", "", first, last, self.pictures, 640, 360, tuple(self.seen))
        return self.function(facts).risk_score

    def verdict(self, facts):
        return self.function(facts)

    def handover(self):
        return ""

    def signature(self):
        """All events with this kind first are alike."""
        return Signature(self.surroundings.camera_id, None, self.seen[0].object_type, False, 12, True)


def whole(function):
    """Turn a function Facts -> Verdict into what makes the judge of an event, whatever its surroundings."""
    return lambda surroundings: _Whole(function, surroundings)
