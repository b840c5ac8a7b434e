"""Check what a language model writes about an event against the line that it was given. Pure.

A sentence is kept if all that it claims follows from the line: counts, times, durations, kinds, places, acts, in digits or words.
What boxes cannot show (weapons, faces, clothes, weather, sounds, who it is, what it wants) never does; "this may be a
resident" is an opinion, not a claim. A noun or verb of no list in a place where a thing or an act is named counts as a claim.
It reads English; a sentence of which it cannot read enough is not kept.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Set
from datetime import datetime
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]
"""What `prompt.describe` returns."""

UNKNOWN_SHARE = 0.34  # of the words of a sentence may be on no list

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = {word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
HEDGE = re.compile(
    r"\b(may|might|could(?! be (?:seen|detected|observed|tracked|made))|possibl[ey]|perhaps|maybe|probabl[ey]|(un)?likely|seems?|appears? to|suggest\w*|indicat\w+|consistent with"
    r"|looks? (more |rather |much )?like|as (if|though)|would|unclear|cannot|can't|whether|if|unless|hard to|presumabl[ey]|fits|typical\w*"
    r"|resembl\w+|points? to|assum\w+|plausible|explanation|conceivabl[ey]|expect\w*|no (sign|evidence|indication|reason)|nothing (\w+ ){0,3}(more|of|than)|rather than|should)\b"
)
CLAUSE = re.compile(
    r"[;:()]|,(?! (or|such|like)\b)|\b(which|but|because|while|so)\b|\band (?=(this|that|it|they|the|should|needs|is|was)\b)"
)
NOT = re.compile(r"\b(not|never|no|without|NOONE|none|neither|nor|nothing)\b(\W+\w+){0,3}\W*$|n't(\W+\w+){0,2}\W*$")

# -- what boxes cannot show, hedged or not; and only as an opinion

UNSEEN = re.compile(
    r"\b(arm(ed|s)?|weapons?|guns?|pistols?|rifles?|kni(fe|ves)|crowbars?|hammers?|axes?|bats?|sticks?|tools?|torch(es)?|flashlights?|ladders?|bombs?|ropes?"
    r"|mask\w*|balaclavas?|hood\w*|fac(e|es|ial)|faceless|eyes?|hair|beard\w*|glasses|hats?|caps?|helmets?|glov\w+|jackets?|coats?|shirts?|uniform\w*|cloth(es|ing)|trousers"
    r"|dress\w*|shoes?|wear\w*|wore|tall|short-haired|young|old|elderly|male|female|m[ae]n|wom[ae]n|boys?|girls?|gentlem[ae]n|lad(y|ies)|guys?|child(ren)?|kids?|teen\w*|bab(y|ies)|adults?"
    r"|he|she|him|her|his|hers|red|blue|green|white|black|yellow|silver|grey|gray|colou?r\w*|rain\w*|snow\w*|fogg?y?|sunny|cloud\w*|wind\w?|windy|storm\w*|weather|wet"
    r"|sounds?|nois\w+|loud\w*|hear\w*|shout\w*|scream\w*|bang\w*|bark\w*|whisper\w*|talk\w*|speaking|speaks? (?:to|with|on)|spoke|voices?|knock\w*|ring(s|ing)?|rang|bells?|(?<!for )alarms?|shots?|shoot\w*"
    r"|climb\w*|jump\w*|crawl\w*|hid(e|es|ing|den)?|sneak\w*|creep\w*|peer\w*|star(e|es|ed|ing)|watche[sd](?! (?:nights|days))|(?:is|are|was|were|stands?|left) (?:open|closed|ajar|shut)|(?:enter\w*|into|inside|in|left|leaves?) the (?:house|home|building)|always|every (?:night|day|morning|evening|week)|smok\w+|cigarettes?|drunk|drink\w*|fight\w*|hits?|push\w*|kick\w*|dig\w*|vandal\w*"
    r"|spray\w*|chas\w+|follow(s|ed)|hold\w*|held|point(?:s|ing|ed) at|aim\w*|fir(e|es|ed|ing)|burn\w*|flames?|smash\w*|broken|broke(?! into a run)|break\w*(?! into a run)|glass|forc(e|es|ed|ing)|pry\w*|pri(es|ed)|unlock\w*|lock\w*|keys?|handles?|opens|opened|opening|open (?:the|a|an)"
    r"|closes(?! in)(?! in)|throw\w*|threw|wav(e|es|ed|ing)|limp\w*|bleed\w*|blood\w*|injur\w+|hurt\w*|attack\w*|bit(e|es|ing)|danc\w+|phones?|plates?|licen[cs]e|nervous\w*|angr\w+|happy|afraid|smil\w+|letters?|mail|f[ae]ll(s|en)?|collaps\w+|(?:head|tail|flood)?light(s|ed)? (is|are|was|were|of|on|off)"
    r"|gaz\w+|glanc\w+|look(?:s|ed) (?:\w+ly )?(?:at|in|into|around|up|back|towards?)(?! the (?:future|score|event|verdict)))\b"
)
WHO = re.compile(
    r"\b(intruders?|burglar\w*|thie(f|ves)|theft|steal\w*|stole\w*|robber\w*|criminals?|suspects?|strangers?|residents?|neighbou?rs?|visitors?|guests?|couriers?|postm[ae]n|mail(m[ae]n|carrier)|drivers?|deliver\w+"
    r"|famil\w+|daughters?|sons?|wife|husband|friends?|police|workers?|gardeners?|cleaners?|homeowners?|tenants?|landlords?|is the owner|owner('s|s)? (\w+ )?(comes?|came|walks?|returns?|is home|enters?|leaves?)|intend\w*|wants?|wanted|plans?|planning|tr(y|ies|ied|ying)"
    r"|flee\w*|fled|escap\w*|break-?in|burgl\w+|same (person|man|car|burglar)|known|recogni[sz]ed)\b"
)

# -- kinds, places and acts that boxes can show

KIND_WORDS = {
    r"persons?|people|individuals?|humans?|figures?|pedestrians?|some(?:one|body)|anyone": "person", r"vans?|lorr(?:y|ies)|pick-?ups?": "truck",
    r"vehicles?": "car truck bus motorcycle bicycle", r"animals?|pets?": "dog cat bird horse bear sheep cow elephant zebra giraffe",
    r"bikes?|cyclists?": "bicycle motorcycle", r"motorbikes?|scooters?|mopeds?": "motorcycle", r"parcels?|packets?|packages?": "package",
    r"bags?|luggage": "backpack handbag suitcase", r"automobiles?|cars?": "car", r"buses": "bus",
}  # fmt: skip
OTHER_KINDS = (
    "dog puppy cat kitten bird horse bear fox deer raccoon squirrel rabbit cow sheep goat pig wolf coyote snake rat mouse owl elephant lion tiger zebra giraffe badger hedgehog hen "
    "truck bus motorcycle bicycle boat ship train airplane plane helicopter drone tractor skateboard umbrella suitcase backpack handbag bench chair bottle laptop ball kite stroller wheelchair "
    "trolley cart trailer tree plant statue spider insect"
).split()
ZONES = {
    "own_door": r"(?:(?:front|house|own|entrance|main|owner's|back|rear|side|garage|cellar|kitchen|patio|garden) )*(?:doors?|doorstep|doorway|(?<!an )entrance|porch)",
    "window": r"windows?",
    "vehicle": r"parking(?: (?:place|space|spot|area|lot))?|vehicle (?:area|zone)|(?:parked|parking) (?:cars?|vehicles?)|where the car is parked|carport|driveway",
    "private": r"(?:own|private|owner's|privately owned) (?:ground|land|property|premises|area)|property|premises|grounds|lawn|patio|terrace|courtyard|(?:(?:back|front|side|rear) )?(?:garden|yard|backyard)",
    "public": r"(?:public )?(?:street|roadside|pavement|sidewalk|road|footpath|kerb|curb)|public (?:ground|space|way|land|area)",
}  # fmt: skip
SIDES = {"back", "rear", "side", "garage", "cellar", "kitchen", "patio", "garden"}
MOVES = "enters leaves approaches returns runs"
ACTS = {
    r"(?:gets?|got|getting|steps?|climbs?) out of": "gets out of",
    r"(?:is |are |was |were )?(?:lying|l(?:ies|ie|ay) (?:down|on)|stretched out)(?: on the (?:ground|floor))?(?: on)?|lies|lay|(?:has|have|had) lain(?: down)?": "lies",
    r"(?:is |are |was |were )?(?:crouch\w*|kneel\w*|knelt|squat\w*|stoop\w*)(?: down)?": "crouches",
    r"(?:breaks? into|broke into|at) a run|run(?:s|ning)?|ran|sprint\w*|dash\w*|jog\w*|rush\w*|rac(?:es|ed|ing)|hurr(?:y|ies|ied)": "runs",
    r"returns?|returned|returning|(?:comes?|came|coming|goes|went) back(?: again)?|re-?enter\w*|(?:turn\w* up|shows? up|showed up|appear\w*|is back|are back|was back) (?:again|for a second time|once more)|re-?appear\w*": "returns",
    r"(?:comes?|came|coming|moves?|moved|moving|gets?|getting|got|closes?|closed|draws?|drew) (?:near(?:er)?|closer?|in on)|approach(?:es|ed|ing)?|(?:walk\w*|mov\w+|head\w*|go\w*|went|comes?|came) (?:up )?(?:to|towards?)(?! (?:view|a|rest))": "approaches",
    r"tak(?:es?|ing|en)(?: away)?|took(?: away)?|grab\w*|pick\w* up|carr(?:y|ies|ied|ying)(?: (?:away|off))?|remov(?:es|ed|ing)|(?:walk\w*|makes?|made|goes|went) off with|(?:left|leaves|leaving) with|snatch\w*": "takes",
    r"(?:put\w*|set\w*) (?:it |an? \w+ |the \w+ )?down|drop(?:s|ped|ping)?(?: off)?|deposit\w*|(?<!track )plac(?:es?d?|ing) (?:it|an?)|left (?:behind|there)": "leaves behind",
    r"leaves?|leaving|left|depart(?:s|ed|ing)?|(?:go\w*|went|gone|walk\w*|mov\w+|driv\w+|drove) (?:away|off|out(?! on))(?: of)?|exit(?:s|ed|ing)?|disappear\w*|vanish\w*|(?:goes|went) out of view": "leaves",
    r"(?:enter(?:s|ed|ing)?|(?:comes?|came|coming|steps?|stepped|walk\w*|go|goes|went|moves?|moved|drives?|drove) in(?:to)?(?! front)|arriv\w+|makes an entrance)(?: view)?": "enters returns",
    r"stop(?:s|ped|ping)?(?: moving)?|com(?:es?|ing) to rest|came to rest|halt(?:s|ed|ing)?|paus(?:es|ed|ing)|(?:stand\w*|stood) still|(?:comes?|came) to a (?:stop|halt|standstill)|stand(?:s|ing)?|stood": "stops|stands beside",
    r"linger\w*|loiter\w*|hang\w* around": "stops|stands beside|stays",
    r"stay(?:s|ed|ing)?|remain(?:s|ed|ing)?|wait(?:s|ed|ing)?": "stops|stands beside|stays",
    r"walk(?:s|ed|ing)?|stroll\w*|wander\w*|mov(?:es?|ed|ing)|pass(?:es|ed|ing)?|cross(?:es|ed|ing)?|driv(?:es?|ing)|drove|rides?|rode": MOVES.replace(" ", "|"),
    r"park(?:s|ed)": "stops",
}  # fmt: skip
THINGS = {"takes", "leaves behind"}
THINGS_TAKEN = {"package", "backpack", "handbag", "suitcase"}
STAY_SECONDS = 5
SEVERAL = (
    ("second|another|other|both", 2, True),
    ("third", 3, True),
    ("several|multiple|various|many|group of", 2, False),
    ("crowd of", 3, False),
    ("single|lone|solitary|sole", 1, False),
)
"""Words before a kind, how many they claim, and whether one after the other counts, too."""
UNITS = {"s": 1, "m": 60, "h": 3600}

NEUTRAL = frozenset(Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split())
"""Words that claim nothing about what was seen."""
_NEAR = "at|near|by|behind|beside|with|without|carrying|holding|using|a|an"
_IN = "in|on|under|beneath|over|onto|into|inside|outside|across|around|along|through|towards?|from|to|of"
_NAMED = r"(?: (?:KIND|is|are|was|were|has|have|had|been|being|appears?|seems?|looks?|then|also|[a-z]+ly|ACT|and))*"
SLOT = re.compile(
    rf"\b(?=((?:{_NEAR}|(?:{_IN}) (?:the|a|an|its|their|this|that|some|another)|(?:KIND|group|they|it|who|one|which|\d+){_NAMED})) "
    r"((?:[a-z'-]+ ){0,2}[a-z'-]+))"
)
"""Where a thing, a place or an act is named: a word of no list there is a claim."""


def check(text: str, line: Line) -> tuple[str, int]:
    """Return a text without the sentences that the line does not support, and how many those were."""
    sentences = [s for s in re.split(r"(?<=[.!?;])\s+(?!m\.)", text) if s.strip()]
    kept = [s for s in sentences if not unsupported(s, line)]
    return " ".join(kept), len(sentences) - len(kept)


def unsupported(sentence: str, line: Line) -> str:
    """Return which claim of a sentence does not follow from the line; "": all do."""
    return next(_Sentence(sentence, line).mistakes(), "")


class _Sentence:
    """One sentence; what was checked is replaced by a mark."""

    def __init__(self, sentence: str, line: Line) -> None:
        self.line = line
        text = re.sub(r"\b(enters|leaves|returns) (left|right|top|bottom)\b", r"\1 at the \2", _plain(sentence))
        self.text = re.sub(
            r"\b(\w+s) (private|public|vehicle)\b(?= ?(?:$|[.,;:]|and\b|then\b))", r"\1 at the \2 area", text
        )
        terms = line.get("rules", {}).get("terms", ())
        self.points, self.whys = {str(abs(term[0])) for term in terms}, [term[1] for term in terms]
        for quote in sorted([*self.whys, line.get("usual", {}).get("words", "")], key=len, reverse=True):
            if " " in quote:
                self.text = self.text.replace(_plain(quote), " QUOTE ")
        self.tracks = [{"places": (), "acts": (), **track} for track in line.get("tracks", ())]
        self.objects = {o["type"]: o for o in line["objects"]}
        self.start, self.end = (datetime.fromisoformat(line[key]) for key in ("from", "to"))
        self.camera = set(re.findall(r"[a-z]+", _plain(line["camera"])))
        self.acts = [(t, *a.split(" ", 1)) for t in self.tracks for a in t["acts"]]
        before = re.search(r"\b(before|earlier|previous\w*|first|incident|ago|already|came from)\b", self.text)
        others = " ".join(e["camera"] for e in line.get("incident", ())) if before else ""
        self.earlier = set(re.findall(r"[a-z]+", _plain(others)))
        notes = _plain(str(line.get("owner_notes", ""))) if re.search(r"\b(owner|notes?)\b", self.text) else ""
        self.notes = set(re.findall(r"[a-z0-9:]+", notes))

    def mistakes(self) -> Iterator[str]:
        if re.search(r"[^\W\d_a-z]", self.text.replace("QUOTE", "")):
            yield "letters that are not English"
        for pattern in (UNSEEN, WHO):
            for m in pattern.finditer(self.text):
                is_opinion = pattern is WHO and self._is_hedged(m.start())
                if not is_opinion and not {*m[0].split()} <= self.notes | self.camera:
                    yield f"{m[0]}: boxes cannot show that"
        self._number()
        yield from self._clocks()
        yield from self._durations()
        yield from self._parts_of_day()
        yield from self._borders()
        self._find_kinds()
        yield from self._places()
        yield from self._counts()
        yield from self._did()
        yield from self._rest()

    def _is_hedged(self, at: int) -> bool:
        """Check whether a position is in a clause that is an opinion, or the whole sentence is one."""
        begin = max((m.end() for m in CLAUSE.finditer(self.text, 0, at)), default=0)
        end = next((m.start() for m in CLAUSE.finditer(self.text, at)), len(self.text))
        return bool(HEDGE.search(self.text[begin:end]) or HEDGE.match(self.text))

    def _take(self, pattern: str, mark: str) -> Iterator[tuple[re.Match[str], str]]:
        """Yield each match with the text before it, and then replace them."""
        found = [*re.finditer(rf"\b(?:{pattern})\b", self.text)]
        yield from ((match, self.text[: match.start()]) for match in found)
        for match in reversed(found):
            self.text = f"{self.text[: match.start()]} {mark} {self.text[match.end() :]}"

    def _number(self) -> None:
        """Write number words as digits."""
        text = re.sub(r"\bno(?:body| one)\b", "NOONE", self.text)
        tens, units = "|".join(_TENS), "|".join(_UNITS[1:10])
        text = re.sub(rf"\b({tens})(?:[ -]({units}))?\b", lambda m: str(_TENS[m[1]] + (_UNITS.index(m[2]) if m[2] else 0)), text)  # fmt: skip
        text = re.sub(rf"\b({'|'.join(_UNITS)})\b(?! of\b)", lambda m: str(_UNITS.index(m[1])), text)
        text = re.sub(r"\b(\d+) ?[x×](?= )", r"\1", text)
        text = re.sub(r"\b(?:a|the)? ?(?:couple|pair) of\b", "2", re.sub(r"\ba dozen\b", "12", text))
        text = re.sub(r"\bhalf a minute\b", "30 s", re.sub(r"\bhalf an hour\b", "30 minutes", text))
        self.text = re.sub(r"\b(?:a|an|1 full|1 whole|full) (minute|hour)\b", r"1 \1", text)

    # -- times

    def _moments(self) -> set[int]:
        """Return the seconds of the day that the line names."""
        named = json.dumps([self.line["from"], self.line["to"], self.line.get("tracks"), self.line.get("incident"), *self.notes])  # fmt: skip
        every = re.findall(r"\b\d\d?:\d\d(?::\d\d)?\b", named)
        return {sum(int(n) * unit for n, unit in zip(at.split(":"), (3600, 60, 1), strict=False)) for at in every}

    def _clocks(self) -> Iterator[str]:
        moments = self._moments()

        def near(at: float, seconds: float, day: int = 86400) -> bool:
            return any(min((at - m) % day, (m - at) % day) <= seconds for m in moments)

        half = r"(?:\s*([ap])\.?m\b\.?)"
        self.clocks: list[int] = []
        for m, _ in self._take(rf"(\d\d?):(\d\d)(?::(\d\d))?{half}?", "TIME"):
            at = int(m[1]) % (12 if m[4] else 24) * 3600 + int(m[2]) * 60 + int(m[3] or 0) + 43200 * (m[4] == "p")
            self.clocks.append(at)
            if not near(at, 1) if m[3] else not any(m // 60 in (at // 60, at // 60 - 1) for m in moments if m // 60 == at // 60 or m % 60 >= 30):  # fmt: skip
                yield f"{m[0]}: no such time"
        for m, _ in self._take(r"(half|(?:a )?quarter|\d+)(?: minutes?)? (past|to) (\d+)", "TIME"):
            away = 30 if m[1] == "half" else int(m[1]) if m[1].isdigit() else 15
            if not near(int(m[3]) * 3600 + away * (60 if m[2] == "past" else -60), 300, 43200):
                yield f"{m[0]}: no such time"
        for m, _ in self._take(rf"(\d+)(?: o'?clock|{half})|(?:at|around|about|after|before|towards|since) (\d\d?)(?= in the| at night|,|\.|$)", "TIME"):  # fmt: skip
            at = int(m[1] or m[3]) % 12 * 3600 + 43200 * (m[2] == "p")
            if not near(at, 1200, 86400 if m[2] else 43200) and not any(v % 43200 // 3600 == at % 43200 // 3600 and (not m[2] or (v >= 43200) == (m[2] == "p")) for v in moments):  # fmt: skip
                yield f"{m[0]}: no such time"
        for m, before in self._take("midnight|noon|midday", "TIME"):
            if re.search(r"\bbefore $", before):
                if m[0] == "midnight" or self.start.hour >= 12:
                    yield f"before {m[0]}: no such time"
            elif not near(0 if m[0] == "midnight" else 43200, 1800):
                yield f"{m[0]}: no such time"
        for m, _ in self._take(r"\d{4}-\d\d-\d\d", "TIME"):
            if m[0] not in (f"{self.start:%Y-%m-%d}", f"{self.end:%Y-%m-%d}"):
                yield f"{m[0]}: another day"
        for m, _ in self._take(rf"({'|'.join(DAYS)}|weekend|yesterday|tomorrow)", "TIME"):
            if self.start.weekday() < 5 if m[0] == "weekend" else m[0] != DAYS[self.start.weekday()]:
                yield f"{m[0]}: another day"

    def _durations(self) -> Iterator[str]:
        units = r"s|secs?|seconds?|min|mins|minutes?|h|hours?"
        few = rf"(?:a few|several|some|many|a couple of) (seconds|minutes|hours)|briefly|(?:for )?a (?:brief |short )?moment|momentarily|(?:a )?({units})(?: long)? ago"
        how = r"(?:(a little over|a little more than|just over|over|more than|longer than|at least|less than|under|nearly|almost|not quite|just under|up to|within|about|around|roughly|approximately|some) )?"
        lasting = self._lasting()
        for m, _ in self._take(rf"{how}(\d+(?:\.\d+)?)[ -]?({units})(?:(?: and)? (\d+) ?({units}))?(?: (later|after|apart|before|ago))?", "TIME"):  # fmt: skip
            unit = UNITS[m[3][0]]
            seconds = float(m[2]) * unit + (int(m[4]) * UNITS[m[5][0]] if m[4] else 0)
            known = lasting if not m[6] else {abs(a - b) for a in self._moments() for b in self._moments()}
            coarse = 1.0 if m[4] or unit == 1 else unit / 2
            if not any(_is_about(seconds, v, m[1] or "", coarse) for v in known):
                yield f"{m[0]}: nothing lasts so long"
        for m, _ in self._take(few, "TIME"):
            least, most = {"s": (2, 90), "m": (90, 3600), "h": (7000, 1e9)}.get((m[1] or " ")[0], (0, 30))
            if not any(least <= v <= most for v in lasting):
                yield f"{m[0]}: nothing lasts so long"

    def _lasting(self) -> set[float]:
        """Return the durations that the sentence may name: those of the kinds in it, and of the event."""
        self._find_kinds()
        kinds = {kind for _, _, names in self.named for kind in names.split()} & {*self.objects}
        if not kinds and re.search(r"\b(event|scene|sequence|duration|it (lasts?|took|went))\b", self.text):
            return {float(self.line["seconds"])}
        is_event = len(kinds) != 1 or len(self.objects) == 1
        is_event |= bool(re.search(r"\b(event|scene|sequence) (\w+ )?(lasts?|lasted|takes|took)\b", self.text))
        of = [o["seconds"] for kind, o in self.objects.items() if kind in kinds or not kinds]
        of += [t["seconds"] for t in self.tracks if t["type"] in kinds or not kinds]
        return {float(v) for v in [*of, *([self.line["seconds"]] if is_event else [])]}

    def _parts_of_day(self) -> Iterator[str]:
        part, hour, dark = (
            self.line["part_of_day"],
            self.start.hour,
            self.line.get("dark", self.line["part_of_day"] == "night"),
        )
        for pattern, holds in (
            (r"(?:small|early) hours(?: of the (?:night|morning))?", hour < 7),
            (r"early (?:in the )?morning(?: hours)?", part == "early morning"), (r"(?:late|mid)[- ]?morning|forenoon", 8 <= hour < 12),
            (r"TIME (?:in the|this) morning", hour < 12), (r"mornings?", hour < 12 and part != "night"), (r"(?:mid[- ]?|late |early )?afternoons?", part == "afternoon"),
            (r"late (?:in the )?evening", hour >= 20), (r"evenings?(?: hours)?", part == "evening"), (r"dawn|sunrise", 4 <= hour < 9), (r"dusk|sunset|twilight", 16 <= hour < 23),
            (r"(?:middle of the )?night(?:-?time)?|overnight|nocturnal", part == "night" or (dark and hour < 7)), (r"tonight", part == "night" or part == "evening"),
            (r"(?:in the |after )?dark(?:ness)?", dark), (r"by day|(?:broad )?daylight|daytime|(?:during|in) the day", not dark and part != "night"),
        ):  # fmt: skip
            for m, before in self._take(pattern, "TIME"):
                if holds == bool(NOT.search(before)):
                    yield f"{m[0]}: it is {part}, {'dark' if dark else 'not dark'}"

    # -- kinds and places

    def _find_kinds(self) -> None:
        self.text = " ".join(self.text.split())
        words = KIND_WORDS | {_words(kind): kind for kind in [*self.objects, *OTHER_KINDS]}
        found = [(m.start(), m.end(), kinds) for pattern, kinds in words.items() for m in re.finditer(rf"\b(?:{pattern})\b", self.text)]  # fmt: skip
        self.named = sorted(set(found))

    def _at(self, at: int) -> set[str]:
        """Return the kinds named last before a position; none: those named behind it; none: all that there are."""
        names = [kinds for start, _, kinds in self.named if start < at]
        named = names[-1] if names else " ".join(kinds for *_, kinds in self.named)
        return {*named.split()} & {*self.objects} or {*self.objects}

    def _borders(self) -> Iterator[str]:
        where = " ".join([o.get("where", "") for o in self.objects.values()] + [a for *_, a in self.acts])
        sides = r"(?:upper|lower|top|bottom|middle)[ -](?:left|right|centre|center)|(?<=the )(?:left|right|top|bottom)"
        for m in re.finditer(rf"\b(?:{sides})\b", self.text):
            written = m[0].replace("center", "centre").replace("upper", "top").replace("lower", "bottom")
            if not {*re.split("[ -]", written)} <= {*where.split()}:
                yield f"{m[0]}: nothing was there"

    def _places(self) -> Iterator[str]:
        names = self.camera | self.earlier
        for zone, pattern in ZONES.items():
            for m in re.finditer(rf"\b(?:{pattern})\b", self.text):
                *side, head = [w for w in m[0].replace("owner's", "own").split() if w not in ("is", "where", "the")]
                of = [t for t in self.tracks if t["type"] in self._at(m.start())]
                is_there = any(zone in t["places"] or any(a.split(" ")[-1] == zone for a in t["acts"]) for t in of)
                is_there &= {*side} & SIDES <= names
                is_name = head.removesuffix("s").removeprefix("back") in names and {*side} <= names | {"own", "house"}
                if (
                    not is_there
                    and not is_name
                    and not re.search(r"\bfor an? $", self.text[: m.start()])
                    and not NOT.search(self.text[: m.start()])
                ):
                    yield f"{m[0]}: nothing was there"
        for pattern in ZONES.values():
            self.text = re.sub(rf"\b(?:{pattern})\b", lambda m: "PLACE".ljust(len(m[0]), "_"), self.text)

    def _counts(self) -> Iterator[str]:
        number = r"(?:(at least|at most|not more than|no more than|more than|fewer than|up to|as many as) )?(\d+)(?: (?!and|or|the|to|in|at|of|by|on)[a-z-]+)? $"
        for start, end, names in self.named:
            before, word, kinds = self.text[:start], self.text[start:end], {*names.split()}
            if "PLACE" in word or "_" in word:
                continue
            present = [self.objects[kind] for kind in kinds if kind in self.objects]
            most = {sum(o["most_at_once"] for o in present), *(o["most_at_once"] for o in present)}
            seen = sum(t["type"] in kinds for t in self.tracks)
            is_absent = re.search(r"\b(no|without|without any|without a|not any|any)( \w+,?( or| and))? $", before)
            if is_absent or (word.startswith("any") and NOT.search(before)):
                if present:
                    yield f"no {word}: there is"
                continue
            counted = re.search(number, before)
            if not present:
                if counted or not self._is_hedged(start):
                    yield f"{word}: none was detected"
                continue
            if counted and not _is_count(counted[1] or "", int(counted[2]), most, seen, self.text):
                yield f"{counted[0]}{word}: there are {max(most)}"
            for pattern, n, known in SEVERAL:
                if re.search(rf"\b({pattern}) $", before) and not (
                    n in most if n == 1 else n <= max(*most, seen if known else 0)
                ):
                    yield f"{word}: there are {max(most)}"
            is_plural = (word.endswith("s") and word not in ("bus",)) or word == "people"
            if (
                is_plural
                and not counted
                and not self._is_hedged(start)
                and max(*most, seen) < 2
                and not NOT.search(before)
            ):
                yield f"{word}: there is 1"
        if re.search(r"\b(alone|by (itself|themselves))\b", self.text) and self.objects.get("person", {}).get("most_at_once", 1) > 1:  # fmt: skip
            yield "alone: there are more"
        if re.search(r"\bNOONE\b(?! else)", self.text) and "person" in self.objects and not any(re.search(rf"\b(?:{p})\b", self.text) for p in ACTS):  # fmt: skip
            yield "no person: there is"

    # -- acts

    def _did(self) -> Iterator[str]:
        text = re.sub(r"\b(take[sn]? (a|another) look|tak(e|es|en|ing) (in)?to account|taken together|(took|takes|taking) ((about|roughly|just|only|slightly|the|full|a|total|of|over|under|almost|nearly) )*TIME|stand(s|ing)? out|stood out|takes? place|PLACE_* (is|are) parked|left (side|border|edge)|(?<=the )left|(upper|lower|top|bottom|middle)[ -]left|stop(s|ping)? at \d+ places)\b", lambda m: "QUOTE".ljust(len(m[0])), self.text)  # fmt: skip
        for start, end, _ in self.named:  # nouns first: a "parked car" is no act
            text = text[:start] + ("PLACE" if "_" in text[start:end] else "KIND").ljust(end - start) + text[end:]
        for pattern, whats in ACTS.items():
            for m in [*re.finditer(rf"\b(?:{pattern})\b", text)]:
                names, after = self._at(m.start()), self.text[m.end() : m.end() + 40]
                if names <= THINGS_TAKEN and not whats.startswith(("takes", "leaves behind")):
                    names = {*self.objects}
                thing = next((k for s, _, k in self.named if m.end() <= s <= m.end() + 25 and not re.search(r"[,;]|\b(and|while|then|beside|near|by|at)\b", self.text[m.end() : s])), "")  # fmt: skip
                what = {*whats.split("|")} if "|" in whats else {whats} if whats in ("gets out of", "leaves behind") else {*whats.split()}  # fmt: skip
                if what == {"leaves"} and thing:
                    what = {"leaves behind"}
                if what <= THINGS and not thing and "person" not in names:  # "the package was taken"
                    thing, names = " ".join(names), {"person"}
                if not thing and what == {"takes"} and not re.match(r" (it|something|them)\b", after):
                    thing = "-"
                done = any(self._is_done(a, what, names, thing, after) for a in self.acts)
                done |= "stays" in what and any(
                    self.objects[k]["seconds"] >= STAY_SECONDS or "TIME" in after for k in names
                )
                if done == bool(NOT.search(self.text[: m.start()])) and (done or not self._is_hedged(m.start())):
                    yield f"{m[0]}: that was not seen"
                text = text[: m.start()] + "ACT".ljust(m.end() - m.start()) + text[m.end() :]
        beside = r"\b(?:beside|next to|close to|alongside|by|near|at) (?:a|the|its|their) (?:\w+ )?$"
        for start, _, names in self.named:
            if re.search(beside, self.text[:start]) and "_" not in self.text[start:start + 6] and names != "person" and not self._is_hedged(start) and not any(a.split()[-1] in names.split() for _, _, a in self.acts):  # fmt: skip
                yield f"beside a {names}: that was not seen"
        self.text = re.sub(r"PLACE_+", "PLACE", re.sub(r" +", " ", text))

    def _is_done(self, act: tuple[Any, str, str], whats: set[str], kinds: set[str], thing: str, after: str) -> bool:
        track, at, what = act
        name = next((w for w in whats if what == w or what.startswith(w + " ")), None)
        if name is None or track["type"] not in kinds:
            return False
        if name == "leaves" and what.startswith("leaves behind"):
            return False
        where = what[len(name) :].strip()
        if name in THINGS and thing and where not in thing.split():
            return False
        seconds = sum(int(n) * unit for n, unit in zip(at.split(":"), (3600, 60, 1), strict=False))
        is_at = re.match(r" ?(?:\w+ ){0,3}at TIME|(?: \w+){0,3} at +TIME", after)
        if len(self.clocks) == 1 and is_at and abs(self.clocks[0] - seconds) >= 60:
            return False
        border = re.search(r"\b(?:from|to|at|on) the (left|right|top|bottom)\b", after)
        return not border or name not in ("enters", "leaves", "returns") or where == border[1]

    # -- the rest

    def _rest(self) -> Iterator[str]:
        for m in re.finditer(r"(\d+) points", self.text):
            if m[1] not in self.points:
                yield f"{m[0]}: no term has them"
        usual = " ".join([*self.whys, self.line.get("usual", {}).get("words", "")])
        for m in re.finditer(r"(\d+) (?:out )?of (?:the )?(\d+)(?! KIND)", self.text):
            if f"{m[1]} of {m[2]}" not in usual:
                yield f"{m[0]}: no such share"
        known = {*re.findall(r"\d+(?:\.\d+)?", json.dumps(self.line))}
        for n in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", re.sub(r"\d+(?=[\w ,]* KIND)", "", self.text)):
            if n not in known and f"{float(n) / 100:g}" not in known and n not in self.notes:
                yield f"{n}: no such number"
        words = NEUTRAL | self.camera | self.notes | self.earlier | {*re.findall("[a-z]+", " ".join(self.whys))}
        for m in SLOT.finditer(self.text):
            noun = next((w for w in m[2].split() if not _is_known(w, words)), None)
            if noun and not self._is_hedged(m.start()):
                yield f"{m[1]} {noun}: not in the line"
        rest = re.findall(r"[a-z][a-z'-]*", self.text)
        unknown = [w for w in rest if not _is_known(w, words)]
        every = len(re.findall(r"\w+", self.text))
        if (len(unknown) > 1 and len(unknown) > UNKNOWN_SHARE * every) or (unknown and 2 * len(unknown) >= every):
            yield f"{', '.join(unknown[:3])}: cannot be checked"


def _plain(text: str) -> str:
    """Write a text in lower case, without accents and typographic quotes."""
    text = unicodedata.normalize("NFKD", text.replace("’", "'").replace("–", "-").replace("—", ", "))
    text = "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Cf")).lower()
    return " ".join(text.replace("night-time", "nighttime").replace("_", " ").split())


def _is_known(word: str, words: Set[str]) -> bool:
    return word in words or (word.endswith("ly") and len(word) > 4) or word.removesuffix("'s") in words


def _words(kind: str) -> str:
    """Return the pattern of a kind's name, one or several of it."""
    return rf"{re.escape(_plain(kind))}(?:s|es)?"


def _is_about(claimed: float, known: float, how: str, coarse: float) -> bool:
    if re.search("over|more|longer|least", how):
        return claimed <= known + 1 and known <= 2.2 * claimed
    if re.search("less|under|nearly|almost|quite|up to|within", how):
        return 0.5 * claimed <= known <= claimed + 1
    if how:
        return abs(claimed - known) <= max(coarse, 0.25 * known)
    return abs(claimed - known) <= max(coarse, 0.02 * known)


def _is_count(how: str, n: int, most: set[int], seen: int, text: str) -> bool:
    greatest = max(most)
    if how in ("at least", "more than", "fewer than"):
        return greatest < n if how == "fewer than" else greatest >= n + (how == "more than")
    if n == 1 and re.search(r"\b(another|the other|a second|of them|one by one)\b", text):
        return True
    return n in most or (bool(re.search(r"\b(in all|altogether|tracks?|different)\b", text)) and greatest <= n <= seen)
