"""Wordings held back, as language models write: made before the last change of the claim check, run after it."""

from tests.long.claims_second import HOURS, NUMBERS

PLURAL = {"person": "people", "dog": "dogs", "cat": "cats", "car": "cars", "truck": "trucks", "bicycle": "bicycles"}


def count(n, kind):
    if n == 1:
        return [f"one {kind}", f"a single {kind}", f"only one {kind}"]
    return [f"{NUMBERS[n]} {PLURAL[kind]}", f"{n} {PLURAL[kind]}", f"a group of {NUMBERS[n]} {PLURAL[kind]}"]


def clock(hour, minute, second):
    ways = [f"{hour:02}:{minute:02}", f"{hour:02}:{minute:02}:{second:02}", f"{hour % 12 or 12}:{minute:02} {'AM' if hour < 12 else 'PM'}"]  # fmt: skip
    if minute == 0:
        ways.append(f"{hour % 12 or 12} {'am' if hour < 12 else 'pm'}")
    if minute == 30:
        ways.append(f"half past {HOURS[hour % 12]}")
    return ways


def lasting(seconds):
    ways = [f"{seconds} seconds", f"{seconds}s", f"approximately {seconds} seconds"]
    if 61 < seconds < 90:
        ways += ["over a minute", "more than one minute"]
    if seconds >= 120:
        ways.append(f"around {round(seconds / 60)} minutes")
    return ways


PART = {
    "night": ["at night", "during nighttime hours"], "early morning": ["in the early morning"], "morning": ["in the morning", "during morning hours"],
    "afternoon": ["in the afternoon", "during the afternoon hours"], "evening": ["in the evening", "during evening hours"],
}  # fmt: skip
DID = {
    "enters": ["entered the frame", "is seen entering", "comes into the scene"],
    "leaves": ["leaves the area", "exits", "is seen leaving"],
    "stops": ["stops", "came to a standstill", "is seen stopping"],
    "runs": ["runs", "is seen running", "was observed running"],
    "approaches": ["approaches", "is approaching the camera", "moves closer"],
    "returns": ["returns", "comes back into view", "is seen returning"],
    "lies": ["is lying down", "lies on the ground", "is seen lying on the ground"],
    "takes": ["takes the {where}", "is seen taking a {where}", "picks up a {where}"],
    "leaves behind": ["leaves a {where} behind", "drops off a {where}", "places a {where} on the ground"],
    "stands beside": ["stands beside a {where}", "is standing next to a {where}", "was near a {where}"],
}  # fmt: skip
ZONE = {
    "own_door": ["at the owner's door", "near the front door", "close to the entrance"],
    "window": ["near a window", "by the window", "at a window"],
    "vehicle": ["in the vehicle area", "near the parking area", "at the parking spot"],
    "private": ["on private property", "in the private area", "on the owner's property"],
    "public": ["in a public area", "on the street", "on the pavement"],
}  # fmt: skip
CAMERA = ["at the {camera}", "in the {camera} area", "near the {camera}"]
SENTENCES = (
    "{Count} was detected {place} {part}, which increases the risk.",
    "{Count} {place} {part} for {lasting}, with no other objects of interest.",
    "The presence of {count} {place} raises concern, but the duration of {lasting} is short.",
    "Detection confidence is solid and {count} remained in view for {lasting}.",
    "The {kind} {did}, suggesting a purposeful movement.",
    "The {kind} {did_where}, which the rules flag.",
    "At {act_clock}, the {kind} {did}.",
    "Against risk: {count} only, {part}.",
    "For risk: the {kind} was {zone} {part}.",
    "The {kind} was {zone}, but the overall score remains moderate.",
    "{Count} {place} at {clock}",
    "{Count} {place} for {lasting} {part}",
    "{Count} was seen from {clock} to {end}.",
    "Event started at {clock} and ended at {end}, lasting {lasting}.",
    "The event shows {count} {place} {part}.",
    "There is evidence of {count}, and the {kind} {did}.",
)  # fmt: skip
OPINIONS = (
    "This suggests routine activity.",
    "There is no indication of malicious intent.",
    "The activity is consistent with a resident arriving home.",
    "The high confidence of the detections supports this assessment.",
    "However, the short duration reduces the overall risk.",
    "The lack of further movement suggests a benign explanation.",
    "This could indicate suspicious activity that warrants review.",
    "The time of day makes this event more concerning.",
    "No hard signs were flagged by the rules.",
    "Overall, this is likely a routine event with low risk.",
    "The behavior is somewhat unusual and should be reviewed.",
    "The rule-based score is high, but the evidence is weak.",
    "It might be a delivery person or a visitor.",
    "The owner should be notified promptly.",
    "The low confidence suggests a possible false detection.",
)
NEVER = (
    "The individual appears agitated and is carrying a crowbar.",
    "The person is wearing dark clothing.",
    "The individual is attempting to break into the house.",
    "A delivery driver drops off groceries.",
    "The suspect fled the scene on foot.",
    "The homeowner arrives home from work.",
    "A dog barks at the mail carrier.",
    "The intruder disabled the alarm system.",
    "The person is hiding their face from the camera.",
    "Loud noises were heard nearby.",
    "The vehicle has tinted windows, which is suspicious.",
    "The person tried the door handle several times.",
    "A coyote crosses the lawn.",
    "The individual is holding a flashlight.",
    "The group appears intoxicated.",
    "The person climbed over the fence, which raises the risk.",
    "Rain reduces visibility.",
    "The man knocked on the door and should be checked.",
    "The person has a weapon, so the score should be high.",
    "The woman is a known neighbor.",
    "A child is playing alone.",
    "The person is vandalizing property.",
    "The person rang the doorbell.",
    "The package was stolen.",
    "A raccoon knocked over the trash can.",
    "The person looked through the window.",
    "The car's headlights were on.",
    "The person used a phone.",
    "A skateboard lies on the driveway.",
    "The individual was smoking.",
)
