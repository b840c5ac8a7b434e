"""Wordings held back at first, and used since."""

from tests.long.claims_second import HOURS, NUMBERS

PLURAL = {"person": "people", "dog": "dogs", "cat": "cats", "car": "cars", "truck": "trucks", "bicycle": "bicycles"}


def count(n, kind):
    if n == 1:
        return [f"one {kind}", f"just one {kind}", f"one detected {kind}"]
    return [
        f"{n} {PLURAL[kind]}",
        f"{NUMBERS[n]} different {PLURAL[kind]}",
        f"a maximum of {NUMBERS[n]} {PLURAL[kind]}",
    ]


def clock(hour, minute, second):
    ways = [f"{hour:02}:{minute:02}", f"{hour:02}:{minute:02}:{second:02}", f"{hour:02}:{minute:02} h"]
    if minute == 30:
        ways.append(f"{hour % 12 or 12}:30 {'AM' if hour < 12 else 'PM'}")
    if minute == 15:
        ways.append(f"15 minutes past {HOURS[hour % 12]}")
    return ways


def lasting(seconds):
    ways = [f"{seconds} seconds", f"roughly {seconds} s", f"the full {seconds} seconds"]
    if seconds > 120 and seconds % 60 > 5:
        ways.append(f"more than {seconds // 60} minutes")
    if 61 < seconds < 80:
        ways.append("slightly over a minute")
    if 40 <= seconds < 58:
        ways.append("under a minute")
    return ways


PART = {
    "night": ["at nighttime", "late at night", "by night"], "early morning": ["very early in the morning"],
    "morning": ["before noon, in the morning", "that morning"], "afternoon": ["that afternoon", "on this afternoon"],
    "evening": ["that evening", "on this evening"],
}  # fmt: skip
DID = {
    "enters": ["arrives", "came into view", "enters the scene"],
    "leaves": ["exits the frame", "is leaving", "moves off"],
    "stops": ["makes a stop", "has stopped", "stood still for a while"],
    "runs": ["moves at a run", "is sprinting", "rushes past"],
    "approaches": ["moves towards the camera", "is getting closer", "heads towards the camera"],
    "returns": ["appears for a second time", "is back again", "re-enters"],
    "lies": ["lies still", "is seen lying down", "lay there"],
    "takes": ["removes the {where}", "grabs the {where}", "left with the {where}"],
    "leaves behind": ["deposits a {where}", "set down the {where}", "drops the {where}"],
    "stands beside": ["lingers beside the {where}", "stands close to the {where}", "remains by the {where}"],
}  # fmt: skip
ZONE = {
    "own_door": ["right at the entrance", "close to the door", "in front of the main door"],
    "window": ["close to the window", "just outside a window", "under the window"],
    "vehicle": ["in the parking space", "near where the car is parked", "on the parking area"],
    "private": ["on the owner's property", "within the grounds", "inside the private area"],
    "public": ["along the street", "on the public pavement", "by the roadside"],
}  # fmt: skip
CAMERA = ["close to the {camera}", "within view of the {camera} camera", "at {camera}"]
SENTENCES = (
    "We have {count} {place} from {clock} until {end}.",
    "According to the detections, {count} spent {lasting} {place}.",
    "{Count}: seen {place} at {clock} for {lasting}",
    "The line lists {count}.",
    "First sight is at {clock}, last sight at {end}.",
    "This happened {part}, with {count} in view.",
    "The {kind} {did}, and that raises the risk.",
    "According to its track, the {kind} {did_where}.",
    "At {act_clock} the {kind} {did}.",
    "A {kind} {zone} is what stands out most.",
    "The track places the {kind} {zone}.",
    "{Count} {place} {part}, {clock}",
    "Duration: {lasting}.",
    "Over the course of {lasting}, {count} could be tracked {place}.",
    "{place} there was {count}, {part}",
    "Main finding: the {kind} {did}.",
    "The detector reports {count} and the event took {lasting}.",
    "Since {clock} there has been {count} {place}, which is notable.",
)  # fmt: skip
OPINIONS = (
    "A resident returning home is the most plausible explanation.",
    "There may be a harmless reason, such as a forgotten item.",
    "I lean towards a lower score.",
    "No cause for alarm.",
    "The owner might want to verify this.",
    "The confidence values are solid, so the finding is reliable.",
    "Nothing here is out of the ordinary.",
    "The combination of time and place increases the risk.",
    "Seems like normal traffic.",
    "This could also be someone from the household.",
    "Overall this is a low-risk event.",
    "Without more context a medium level is appropriate.",
    "This kind of activity is often innocent.",
    "Given the circumstances, vigilance is advised.",
    "The sequence resembles a delivery.",
    "The situation deserves immediate review.",
)
NEVER = (
    "One person is swinging an axe.",
    "The man in the leather coat smiles.",
    "An unidentified subject with a backpack full of tools leaves footprints.",
    "Two teenagers are spraying graffiti.",
    "The perpetrator cuts the cable.",
    "Heavy snowfall limits the view.",
    "The person is crying.",
    "A helicopter circles overhead.",
    "The visitor presses the doorbell.",
    "Someone yells for help.",
    "The driver honks.",
    "The person takes a selfie.",
    "It is the homeowner.",
    "He came to rob the place.",
    "The postwoman puts a letter into the mailbox.",
    "The lock has been picked.",
    "Footsteps are audible.",
    "The person urinates on the wall.",
    "A wolf howls.",
    "The person checks the mailbox.",
    "They exchange a bag of money.",
    "The person pulls the handle.",
    "The person kneels down.",
    "The garage door stands open.",
    "Smoke comes out of the kitchen.",
    "The person waters the plants.",
    "The two are arguing.",
    "The person photographs the house.",
    "The car has a broken headlight.",
    "The headlights flash.",
    "A black SUV is waiting.",
    "The person sits on the bench.",
    "A llama grazes on the lawn.",
    "The person was identified as John.",
    "They are carrying a television.",
    "The person pets the dog.",
    "The suspect is known to the police.",
    "The person puts on gloves.",
    "A fight breaks out.",
    "It is windy and the trees move.",
    "The victim lies in a pool of blood.",
    "The person looks directly into the camera.",
)
