"""Wordings held back at first, and used since."""

from tests.long.claims_second import HOURS, NUMBERS

PLURAL = {"person": "individuals", "dog": "dogs", "cat": "cats", "car": "cars", "truck": "trucks", "bicycle": "bikes"}


def count(n, kind):
    if n == 1:
        return [f"one {kind} only", f"1x {kind}", f"one unaccompanied {kind}"]
    return [
        f"{NUMBERS[n]} {PLURAL[kind]}",
        f"{n} {PLURAL[kind]} simultaneously",
        f"not more than {NUMBERS[n]} {PLURAL[kind]}",
    ]


def clock(hour, minute, second):
    ways = [f"{hour:02}:{minute:02}", f"{hour:02}:{minute:02}:{second:02}", f"{hour}:{minute:02}"]
    if minute == 45:
        ways.append(f"a quarter to {HOURS[(hour + 1) % 12]}")
    return ways


def lasting(seconds):
    ways = [f"{seconds} seconds", f"approx. {seconds} s", f"some {seconds} seconds"]
    if seconds > 130 and seconds % 60 > 10:
        ways.append(f"well over {NUMBERS[seconds // 60] if seconds < 600 else 9} minutes")
    if 48 <= seconds < 58:
        ways.append("just under a minute")
    return ways


PART = {
    "night": ["in the depths of the night", "at a nocturnal hour"], "early morning": ["at an early morning hour"],
    "morning": ["on this morning", "mid-morning or thereabouts in the morning"], "afternoon": ["one afternoon", "as the afternoon goes"],
    "evening": ["one evening", "with evening setting in"],
}  # fmt: skip
DID = {
    "enters": ["makes an entrance", "walks into the picture", "arrived"],
    "leaves": ["walks off", "goes out of view", "disappears from view"],
    "stops": ["stops moving", "comes to rest", "remains standing"],
    "runs": ["hurries along", "dashes across the view", "is moving at a run"],
    "approaches": ["closes in on the camera", "gets nearer", "walks up towards the lens"],
    "returns": ["reappears", "shows up once more", "makes a return"],
    "lies": ["lies flat", "has lain down", "rests on the floor, lying"],
    "takes": ["takes away the {where}", "snatches the {where}", "makes off with the {where}"],
    "leaves behind": ["puts a {where} down", "drops off the {where}", "leaves the {where}"],
    "stands beside": ["is standing by the {where}", "positions itself beside the {where}", "stays next to the {where}"],
}  # fmt: skip
ZONE = {
    "own_door": ["directly at the house entrance", "before the front door", "at the doorway"],
    "window": ["alongside the window", "at one of the windows", "beside a window"],
    "vehicle": ["at the parking area", "on the parking spot", "around the parking space"],
    "private": ["on privately owned ground", "on the premises", "on the private side"],
    "public": ["down the road", "along the sidewalk", "on the footpath"],
}  # fmt: skip
CAMERA = ["in front of the {camera} camera", "at the {camera} location", "over at the {camera}"]
SENTENCES = (
    "Camera footage data from the {camera}: {count}, {clock} to {end}.",
    "I count {count} {place}.",
    "{Count} can be made out {place} for {lasting}.",
    "Timeline: {clock} start, {end} end.",
    "It went on for {lasting} {part}.",
    "What happened is that the {kind} {did}.",
    "Of note is that a {kind} {did_where}.",
    "Around then, at {act_clock}, the {kind} {did}.",
    "One track has the {kind} {zone}.",
    "Being {zone}, the {kind} deserves a closer look.",
    "{Count} {place} ({clock})",
    "{Count}, {lasting}, {part}",
    "Apart from {count} nothing was picked up {place}.",
    "My reading: {count} {place} {part}, lasting {lasting}.",
    "As the {kind} {did}, I rate this higher than otherwise.",
    "There is no more to it than {count} {place}.",
    "Detections begin at {clock} and cease at {end}.",
)  # fmt: skip
OPINIONS = (
    "In my view this is nothing to worry about.",
    "Ordinary comings and goings, it appears.",
    "Residents might have come back from an outing.",
    "The weak point is the low confidence.",
    "Such a combination rarely has an innocent background.",
    "It would be prudent to look at this.",
    "The picture that emerges is one of calm.",
    "Possibly the owner took the bins out.",
    "The level should remain as the rules have it.",
    "For now, monitoring suffices.",
    "A higher score would be exaggerated.",
    "It fits what is usual for a driveway.",
    "Hence the rating is at the upper end of medium.",
    "The doubtful tracks weaken the case.",
    "What the purpose was remains open.",
)
NEVER = (
    "He drags a heavy sack.",
    "Her hood is pulled down.",
    "The person tampers with the meter.",
    "Two men exchange blows.",
    "Someone is screaming.",
    "The person puts up a tent.",
    "Thunder rolls.",
    "The delivery van belongs to DHL.",
    "The person taps on the pane.",
    "A toddler wanders about alone.",
    "The person stumbles and gets up.",
    "The prowler shines a flashlight.",
    "A raccoon rummages in the bins.",
    "The gate was left ajar.",
    "The person steals the package.",
    "The vehicle has no number plate.",
    "A giraffe stands in the garden.",
    "The person is cutting the hedge.",
    "They laugh and joke.",
    "The person lights a candle.",
    "The electrician repairs the lamp.",
    "The dog is on a leash.",
    "A cyclist repairs a tyre.",
    "The intruder disables the camera.",
    "The person is bald.",
    "Grandmother feeds the birds.",
    "The attackers set fire to the shed.",
    "The person has a limp.",
    "They push a shopping trolley.",
    "The person vomits.",
    "The person drops a bottle.",
    "A parcel courier scans the label.",
    "The person salutes.",
    "A wild boar digs up the lawn.",
    "The two hug each other.",
    "The person washes the car.",
    "A plumber carries pipes.",
    "The children play football.",
    "The person slips on ice.",
    "A taxi honks twice.",
)
