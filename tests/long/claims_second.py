"""Wordings held back at first, and used since."""

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HOURS = ("twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
PLURAL = {"person": "persons", "dog": "dogs", "cat": "cats", "car": "cars", "truck": "trucks", "bicycle": "bicycles"}


def count(n, kind):
    if n == 1:
        return [f"a single {kind}", f"exactly one {kind}", f"1 {kind}"]
    return [f"{NUMBERS[n]} {PLURAL[kind]}", f"a total of {n} {PLURAL[kind]}", f"as many as {NUMBERS[n]} {PLURAL[kind]}"]


def clock(hour, minute, second):
    ways = [f"{hour:02}:{minute:02}", f"{hour % 12 or 12}:{minute:02} {'a.m.' if hour < 12 else 'p.m.'}"]
    ways += [f"{hour:02}:{minute:02}:{second:02}"]
    if minute == 30:
        ways.append(f"half past {HOURS[hour % 12]}")
    if minute == 15:
        ways.append(f"a quarter past {HOURS[hour % 12]}")
    if minute == 45:
        ways.append(f"quarter to {HOURS[(hour + 1) % 12]}")
    return ways


def lasting(seconds):
    ways = [f"{seconds} sec", f"a duration of {seconds} seconds"]
    if seconds >= 60:
        ways.append(f"{seconds // 60} min {seconds % 60} s")
    if 62 <= seconds < 85:
        ways.append("just over one minute")
    if 50 <= seconds < 58:
        ways.append("not quite a minute")
    if seconds % 60 == 0 and seconds < 600:
        ways.append(f"exactly {NUMBERS[seconds // 60]} {'minute' if seconds == 60 else 'minutes'}")
    return ways


PART = {
    "night": ["during the night", "in the middle of the night", "at night-time"],
    "early morning": ["early in the morning", "in the early morning hours"],
    "morning": ["in the course of the morning", "during the morning"],
    "afternoon": ["during the afternoon", "in mid-afternoon"],
    "evening": ["during the evening", "in the evening hours"],
}  # fmt: skip

DID = {
    "enters": ["steps into view", "comes into the frame", "entered the picture"],
    "leaves": ["walks out of view", "departs", "has gone out of the picture"],
    "stops": ["comes to a halt", "halted", "comes to a stop"],
    "runs": ["breaks into a run", "sprinted", "was running"],
    "approaches": ["comes closer", "draws nearer", "approached"],
    "returns": ["turns up again", "comes back", "has returned"],
    "lies": ["is lying on the ground", "lay down", "is stretched out on the ground"],
    "takes": ["picks up the {where}", "walks off with the {where}", "has taken the {where}"],
    "leaves behind": ["puts down a {where}", "leaves a {where} behind", "left the {where} there"],
    "stands beside": ["is next to a {where}", "stood by the {where}", "stays close to the {where}"],
}  # fmt: skip

ZONE = {
    "own_door": ["by the house door", "outside the front door", "on the doorstep"],
    "window": ["next to a window", "in front of the window", "by the window"],
    "vehicle": ["by the parking space", "where the car is parked", "at the parking spot"],
    "private": ["on the property", "inside the premises", "on private ground"],
    "public": ["on the pavement", "out on the street", "on public ground"],
}  # fmt: skip

CAMERA = ["by the {camera}", "around the {camera}", "on the {camera} camera", "in view of the {camera}"]

SENTENCES = (
    "The {camera} camera recorded {count} starting {clock}.",
    "From {clock} on, {count} could be seen {place}.",
    "{count} showed up {part}.",
    "{Count} stayed in view for {lasting}.",
    "What was detected {place} is {count}, lasting {lasting}.",
    "{count} between {clock} and {end}",
    "It started at {clock} and was over by {end}.",
    "The whole event spans {lasting}.",
    "The {kind} {did}.",
    "At one point a {kind} {did_where}.",
    "{part}, the {kind} {did}, which is worth a check.",
    "The {kind} was tracked {zone}.",
    "The {kind} went {zone} and was there {part}.",
    "Visible {place} for {lasting}: {count}.",
    "{count} {place}, {clock}",
    "The detector saw the {kind} at {act_clock}, when it {did}.",
    "{Count}, detected with good confidence, {part}.",
    "Because the {kind} {did}, a higher score is justified.",
    "In total there was {count} for {lasting}, {part}.",
    "The boxes show {count} and nothing else of note.",
)

OPINIONS = (
    "It could well be a family member coming home.",
    "There is little here that points to danger.",
    "This looks more like an errand than a threat.",
    "On balance the owner should have a look soon.",
    "Perhaps it was merely a delivery.",
    "The evidence is rather weak.",
    "I see no reason to wake the owner.",
    "Such behaviour deserves attention.",
    "The overall pattern fits a routine visit.",
    "That would be consistent with a neighbour passing by.",
    "All in all the risk is moderate.",
    "Taken together, the rules and the tracks justify a cautious rating.",
    "It is hard to say what the purpose might be.",
)

NEVER = (
    "One of them carries a crowbar.",
    "The person has a balaclava on.",
    "He looks nervous and angry.",
    "Her face is clearly visible.",
    "A young woman with a red jacket is seen.",
    "The suspect tries to force the lock.",
    "They are breaking into the house.",
    "It is the same burglar as last week.",
    "A gun is visible in the hand.",
    "Shouting can be heard.",
    "Glass is broken.",
    "It is raining heavily.",
    "The license plate reads AB 123.",
    "The visitor rings the bell twice.",
    "A drone hovers above the roof.",
    "The person is drunk.",
    "The intruder wants to steal the bike.",
    "Someone is smoking a cigarette.",
    "The courier wears a uniform.",
    "A fire is burning.",
    "The owner's daughter comes home.",
    "The person jumps over the hedge.",
    "He is looking at his phone.",
    "A masked figure peers inside.",
    "The delivery man hands over a letter.",
    "The dog barks loudly.",
    "The man is limping.",
    "She throws a stone.",
    "The car alarm goes off.",
    "Several shots were fired.",
    "The lights of the house are on.",
    "An elephant walks through the picture.",
    "The person crawls under the car.",
    "They whisper to each other.",
    "The group is vandalising the wall.",
    "He unlocks the door with a key.",
    "The police were called.",
    "The person bleeds.",
    "A tall bearded man is waiting.",
    "The thief escapes on a scooter.",
)
