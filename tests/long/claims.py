"""True sentences about random lines, and false ones, through the claim check: how many of which are struck.

    python -m tests.long.claims [SENTENCES=10000] [SEED=1]

A true sentence says what stands in the line, in one of many wordings; a false one has one fact changed so that it does not
follow any more, or claims what boxes cannot show. The wordings here were used while the check was made, those of
`claims_second` were not: their rates stand apart.
"""

import random
import sys
from datetime import datetime, timedelta

from hearthwatch.stages.claims import unsupported
from tests.long import claims_fourth, claims_held_back, claims_second, claims_third

KINDS = ("person", "person", "person", "dog", "cat", "car", "truck", "bicycle")
CAMERAS = ("Back Yard", "Front Door", "Driveway", "Side Gate", "Garage", "Garden Path", "Terrace", "Carport")
ZONES = ("own_door", "window", "vehicle", "private", "public")
ACTS = ("enters", "leaves", "stops", "runs", "approaches", "returns", "lies", "takes", "leaves behind", "stands beside")
THINGS = ("takes", "leaves behind", "stands beside")
BORDERS = ("left", "right", "top", "bottom")
PARTS = ((5, "night"), (9, "early morning"), (12, "morning"), (17, "afternoon"), (22, "evening"), (24, "night"))


def part_of_day(hour):
    return next(name for until, name in PARTS if hour < until)


def facts(rnd):
    """A line as `prompt.describe` makes it, of one or two kinds."""
    start = datetime(2026, rnd.randint(1, 12), rnd.randint(1, 28), rnd.randrange(24), rnd.choice([0, 15, 30, 45, rnd.randrange(60)]), rnd.randrange(60))  # fmt: skip
    seconds = rnd.choice([rnd.randint(3, 59), rnd.randint(50, 130), 60, rnd.randint(10, 600)])
    kinds = list(dict.fromkeys(rnd.choice(KINDS) for _ in range(rnd.choice([1, 1, 2]))))
    objects, tracks = [], []
    thing = rnd.choice([kind for kind in ("package", "car", "bicycle") if kind not in kinds])
    for kind in kinds:
        n = rnd.choice([1, 1, 2, 3, 4])
        objects.append(
            {
                "type": kind, "frames": rnd.randint(2, 90), "most_at_once": n, "best_confidence": round(rnd.uniform(0.5, 0.98), 2),
                "seconds": seconds if kind == kinds[0] else rnd.randint(1, seconds), "where": "middle left", "detections": [512],
            }
        )  # fmt: skip
        for i in range(n):
            acts = sorted({_act(rnd, start, seconds, kind, thing) for _ in range(rnd.randint(0, 4))}) if i == 0 else []
            tracks.append(
                {
                    "n": len(tracks) + 1, "type": kind, "from": f"{start:%H:%M:%S}", "seconds": objects[-1]["seconds"],
                    "places": rnd.sample(ZONES, rnd.randint(0, 2)) if i == 0 else [], "acts": acts,
                }
            )  # fmt: skip
    if any(act.endswith(thing) for t in tracks for act in t["acts"]):
        objects.append({"type": thing, "frames": 2, "most_at_once": 1, "best_confidence": 0.5, "seconds": seconds, "where": "middle left", "detections": [513]})  # fmt: skip
    return {
        "camera": rnd.choice(CAMERAS), "from": f"{start:%Y-%m-%d %H:%M:%S}", "to": f"{start + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}",
        "seconds": seconds, "part_of_day": part_of_day(start.hour), "dark": start.hour >= 22 or start.hour < 5,
        "frames": rnd.randint(2, 99), "objects": objects, "tracks": tracks,
        "rules": {"score": 55, "level": "medium", "terms": [[20, "person"], [30, "on own ground in the dark"]]},
    }  # fmt: skip


def _act(rnd, start, seconds, kind, thing):
    what = rnd.choice(ACTS[:6] if kind != "person" else ACTS)
    at = start + timedelta(seconds=rnd.randint(0, seconds))
    where = thing if what in THINGS else rnd.choice(BORDERS) if what in ("enters", "leaves") else rnd.choice([*ZONES, ""])  # fmt: skip
    return f"{at:%H:%M:%S} {what} {where}".strip()


# -- wordings

NUMBERS = claims_second.NUMBERS
PLURAL = {"person": "people", "dog": "dogs", "cat": "cats", "car": "cars", "truck": "trucks", "bicycle": "bicycles"}


def count(n, kind):
    if n == 1:
        return [f"one {kind}", f"1 {kind}", f"a lone {kind}"]
    return [f"{NUMBERS[n]} {PLURAL[kind]}", f"{n} {PLURAL[kind]}", f"up to {NUMBERS[n]} {PLURAL[kind]} at once"]


def clock(hour, minute, second):
    ways = [f"{hour:02}:{minute:02}", f"{hour:02}:{minute:02}:{second:02}", f"{hour % 12 or 12}:{minute:02} {'am' if hour < 12 else 'pm'}"]  # fmt: skip
    if minute == 30:
        ways.append(f"half past {claims_second.HOURS[hour % 12]}")
    if minute == 0:
        ways.append(f"{claims_second.HOURS[hour % 12]} o'clock")
    return ways


def lasting(seconds):
    ways = [f"{seconds} s", f"{seconds} seconds", f"about {seconds} seconds"]
    if 61 <= seconds < 85:
        ways += ["over a minute", "a little more than a minute"]
    if 45 <= seconds < 60:
        ways += ["less than a minute", "nearly a minute"]
    if seconds >= 120:
        ways += [f"{round(seconds / 60)} minutes", f"about {round(seconds / 60)} min"]
    return ways


PART = {
    "night": ["at night", "in the night", "in the dead of the night"],
    "early morning": ["in the early morning", "early in the morning"],
    "morning": ["in the morning", "this morning"],
    "afternoon": ["in the afternoon", "by day, in the afternoon"],
    "evening": ["in the evening", "this evening"],
}  # fmt: skip

DID = {
    "enters": ["enters", "comes in", "enters the view"],
    "leaves": ["leaves", "goes away", "walks away"],
    "stops": ["stops", "pauses", "stands still"],
    "runs": ["runs", "ran", "is running"],
    "approaches": ["approaches", "comes nearer", "approached the camera"],
    "returns": ["returns", "came back", "comes back again"],
    "lies": ["lies on the ground", "lies down", "lay on the ground"],
    "takes": ["takes the {where}", "took a {where}", "carried away the {where}"],
    "leaves behind": ["leaves a {where}", "left a {where} behind", "drops off a {where}"],
    "stands beside": ["stands beside the {where}", "stood next to a {where}", "stands at the {where}"],
}  # fmt: skip

ZONE = {
    "own_door": ["at the front door", "at the door", "near the door"],
    "window": ["at the window", "near a window", "beneath the window"],
    "vehicle": ["at the parking place", "beside the parked car", "in the parking area"],
    "private": ["on private ground", "on the owner's ground", "on own ground"],
    "public": ["on the street", "on the sidewalk", "on the public road"],
}  # fmt: skip

CAMERA = ["at the {camera}", "in the {camera}", "near the {camera}"]

SENTENCES = (
    "{Count} {place} for {lasting} at {clock}.",
    "{Count} {place} {part}.",
    "{Count} for {lasting} {place}, {clock}",
    "{Count} seen {place}, {clock}",
    "The {kind} {did}.",
    "A {kind} {did_where}.",
    "A {kind} {did} at {act_clock}.",
    "The {kind} was {zone}.",
    "At {clock} {count} appeared {place}.",
    "{Count} stayed {place} for {lasting}, {part}.",
    "The event lasts {lasting} and ends at {end}.",
    "Only {count} was detected, {part}.",
    "{Count} remain in view for {lasting}; the detections are sure.",
    "The {kind} {did}, then it is not seen any more.",
    "There is {count} {place} between {clock} and {end}.",
)

OPINIONS = (
    "Nothing suggests more than a delivery or a visitor.",
    "This may be a resident.",
    "The score stays low.",
    "Such an event is worth a look later.",
    "Possibly a resident who comes home late.",
    "This is routine.",
    "It might be an intruder.",
    "The risk is low because the detections are weak.",
    "The rules see a reason for concern.",
    "That speaks against a high score.",
    "Nothing indicates danger.",
    "It is unclear whether this is a delivery.",
    "The owner should look now.",
)

NEVER = (
    "The person is armed.",
    "He holds a knife.",
    "A masked man is seen.",
    "The person wears a dark hoodie.",
    "Someone is knocking at the door.",
    "The burglar flees.",
    "It is foggy.",
    "A loud bang is heard.",
    "The person climbs the fence.",
    "The person intends to break in.",
    "Her face is covered.",
    "A woman with a child waits.",
    "The postman delivers mail.",
    "A bear attacks the house.",
    "The neighbour waves.",
    "They carry a ladder.",
    "The person opens the gate.",
    "The person is hiding behind a tree.",
    "The window is smashed.",
    "A suspicious van with tinted windows waits.",
    "The stranger is trying the door handle.",
    "The person talks on the phone.",
)

# -- sentences


class Writer:
    """Writes sentences about a line, true ones and ones with a wrong slot."""

    def __init__(self, wordings, rnd):
        self.w, self.rnd = wordings, rnd

    def write(self, is_true):
        """A line, a sentence about it, and which slot is wrong."""
        rnd, w = self.rnd, self.w
        if rnd.random() < 0.2:
            return facts(rnd), rnd.choice(w.OPINIONS if is_true else w.NEVER), "never"
        while True:
            data, template = facts(rnd), rnd.choice(w.SENTENCES)
            slots = [s for s in ("count", "place", "clock", "end", "lasting", "part", "kind", "did_where", "did", "zone", "act_clock") if f"{{{s}}}" in template.lower()]  # fmt: skip
            wrong = None if is_true else rnd.choice(slots)
            texts = self._fill(data, wrong, template)
            if texts and all(texts.get(s) for s in slots):
                texts["Count"] = texts["count"][0].upper() + texts["count"][1:]
                if wrong == "kind" and texts.get("kind") in [o["type"] for o in data["objects"]]:
                    continue
                return data, template.format(**texts), wrong

    def _fill(self, data, wrong, template):
        rnd, w = self.rnd, self.w
        obj = rnd.choice([o for o in data["objects"] if o["detections"] == [512]])
        tracks = [t for t in data["tracks"] if t["type"] == obj["type"]]
        pairs = [(t, a.split(" ", 1)) for t in tracks for a in t["acts"]]
        kind, n = obj["type"], obj["most_at_once"]
        start, end = (datetime.fromisoformat(data[k]) for k in ("from", "to"))
        out = {"camera": data["camera"].lower()}
        if wrong == "count":
            n = rnd.choice([m for m in range(1, 8) if m != n])
        other = rnd.choice([k for k in (*KINDS, "bird", "horse") if k not in {o["type"] for o in data["objects"]} | {"person" if "person" in {o["type"] for o in data["objects"]} else ""}])  # fmt: skip
        out["kind"] = other if wrong == "kind" else kind
        out["count"] = rnd.choice(w.count(n, kind))
        there = {p for t in data["tracks"] for p in t["places"]} | {
            a.split()[-1] for t in data["tracks"] for a in t["acts"]
        }
        others = [c for c in CAMERAS if not set(c.split()) & set(data["camera"].split()) and not any(self._is_in_name(z, {"camera": c}) for z in there & {*ZONES})]  # fmt: skip
        if wrong == "place" and not others:
            return None
        camera = rnd.choice(others) if wrong == "place" else data["camera"]
        out["place"] = rnd.choice(w.CAMERA).format(camera=camera.lower())
        away = timedelta(minutes=rnd.choice([-1, 1]) * rnd.randint(47, 660))
        for slot, at in (("clock", start), ("end", end)):
            at = at + away if wrong == slot else at
            out[slot] = rnd.choice(w.clock(at.hour, at.minute, at.second))
        seconds = data["seconds"]
        if kind != data["objects"][0]["type"] and "{count" in template.lower() and "event" not in template.lower():
            seconds = obj["seconds"]
        if wrong == "lasting":
            seconds = rnd.choice([seconds * 3 + 40, seconds * 2 + 75, max(1, seconds // 3)])
            if abs(seconds - data["seconds"]) < 0.4 * data["seconds"] or seconds == obj["seconds"]:
                return None
        out["lasting"] = rnd.choice(w.lasting(seconds))
        part = data["part_of_day"]
        if wrong == "part":
            part = rnd.choice([p for p in w.PART if p.split()[-1] != part.split()[-1]])
        out["part"] = rnd.choice(w.PART[part])
        places = {p for t in tracks for p in t["places"]} | {a[1].split()[-1] for _, a in pairs}
        zones = [z for z in ZONES if (z in {p for t in tracks for p in t["places"]}) == (wrong != "zone")]
        zones = [z for z in zones if wrong != "zone" or (not self._is_in_name(z, data) and z not in places and not (z == "vehicle" and {"car", "truck"} & {o["type"] for o in data["objects"]}) and z != "private")]  # fmt: skip
        if zones:
            out["zone"] = rnd.choice(w.ZONE[rnd.choice(zones)])
        if pairs:
            _, (at, act) = rnd.choice(pairs)
            what = next(name for name in ("leaves behind", *ACTS) if act.startswith(name))
            where = act[len(what) :].strip()
            done = {next(name for name in ("leaves behind", *ACTS) if a[1].startswith(name)) for _, a in pairs}
            moment = datetime.fromisoformat(f"{start:%Y-%m-%d}T{at}") + (away if wrong == "act_clock" else timedelta())
            if wrong in ("did", "did_where"):
                what = rnd.choice([a for a in ACTS if a not in done] or [""])
                if not what or (what, *done & {"returns", "stands beside", "lies"}) in (("enters", "returns"), ("stops", "stands beside")) or len(done) > 2:  # fmt: skip
                    return None
                where = where or "bicycle"
            out["act_clock"] = rnd.choice(w.clock(moment.hour, moment.minute, moment.second))
            thing = where if where in ("package", "car", "bicycle") else "package"
            out["did"] = out["did_where"] = rnd.choice(w.DID[what]).format(where=thing)
            if where in w.ZONE and what not in THINGS:
                out["did_where"] += " " + rnd.choice(w.ZONE[where])
        return out

    @staticmethod
    def _is_in_name(zone, data):
        name = data["camera"].lower()
        words = {"own_door": "door", "vehicle": "driveway carport garage", "private": "yard garden terrace", "public": "-"}  # fmt: skip
        return any(word in name for word in words.get(zone, zone).split())


def rates(wordings, sentences, seed=1):
    """Share of false sentences found, share of true ones struck, and those that went wrong."""
    rnd = random.Random(seed)
    writer, wrong = Writer(wordings, rnd), []
    counts = {True: [0, 0], False: [0, 0]}
    for i in range(sentences):
        is_true = i % 2 == 0
        data, sentence, slot = writer.write(is_true)
        why = unsupported(sentence, data)
        counts[is_true][0] += 1
        counts[is_true][1] += bool(why)
        if is_true == bool(why):
            wrong.append((is_true, slot, sentence, why, data))
    return counts[False][1] / counts[False][0], counts[True][1] / counts[True][0], wrong


def main(sentences=10_000, seed=1):
    for wordings in (sys.modules[__name__], claims_second, claims_third, claims_fourth, claims_held_back):
        found, struck, wrong = rates(wordings, int(sentences), int(seed))
        print(f"{wordings.__name__}: {found:.2%} of the false found, {struck:.2%} of the true struck, of {sentences}")
        for is_true, slot, sentence, why, _ in {row[2]: row for row in wrong}.values():
            print(f"   {'true, struck: ' + why if is_true else 'false, kept: ' + str(slot)} | {sentence}")


if __name__ == "__main__":
    main(*sys.argv[1:])
