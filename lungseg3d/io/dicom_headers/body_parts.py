"""Which part of the body a CT series shows, by the words of its header.

In: BodyPartExamined, SeriesDescription, ProtocolName as they stand there, in whatever language. Out: names of parts.
Headers are free text and often wrong, so what is seen in the images counts for more: see `series_choice`.
"""

from __future__ import annotations

import functools
import re
import unicodedata

CHEST, WHOLE_BODY = "chest", "whole body"
# Stems of at least five Latin letters, and all of other scripts, are looked for anywhere in a word, as languages
# compound them; those of four begin a word (-lung ends many a German one); the others are whole words.
_STEMS = {
    CHEST: (
        "chest thora torax torac toraks lung pulm poumon polmon poitrin pecho pneumo brust borst brost bryst klatk "
        "pluc hrudn plic mell tudo keuhk rinta akciger gogus plaman nguc phoi mediast torace hrct [pe] [lae] [ctpa] "
        "[ldct] [ldst] [tx] груд легк легоч огк торак 胸 肺 흉부 폐 θωρα πνευμο صدر رئة חזה ריאות"
    ),
    WHOLE_BODY: (
        "wholebody [wb] ganzkorp corpsentier cuerpoentero corpointeiro corpointero totalbody polytrau politrau "
        "heellichaam [tap] [cap] [ncap] [ntap] всетело 全身 전신"
    ),
    "head": (
        "head brain skull crani cereb neuro sinus orbit facial dental mandib maxill petrous temporal kopf schad hirn "
        "[nnh] felsenb tete cerveau encef enceph crane cabeza cabeca craneo testa cervell hoofd herse schedel "
        "glow mozg hlav mozek huvud hjarn skalle hode koponya agy kafa beyin "
        "голов мозг череп 头 頭 颅 腦 脑 두부 머리 뇌 κεφαλ "
        "راس ראש"
    ),
    "neck": "neck cervic caroti larynx [hals] halsw [cou] cuello collo pescoc szyj krk [hws] шея шеи 颈 頸 경부",
    "abdomen": (
        "abdom liver hepat pancrea kidney renal urogr bauch leber niere foie rein higado fegato fegado buik lever "
        "brzuch watrob brich jatr karin batin [bt] colon живот брюш печен 腹 肝 肾 복부 κοιλι بطن בטן"
    ),
    "pelvis": "pelvi becken bassin bacin bekken miednic panev hufte hip prostat bladder [becken] таз 盆 골반",
    "spine": "spine spinal lumba wirbel rachis column colonna columna krego pater [lws] [bws] позвоноч 脊 腰 척추",
    "limbs": (
        "knee ankle foot feet femur tibia extrem shoulder elbow wrist hand [leg] [arm] knie fuss schulter genou pied "
        "epaule rodilla ginocch колен 膝 足 肩"
    ),
    "heart": "heart cardi coron herz coeur corazon cuore serce calciumscor [cac] сердц коронар 心 심장",
}


def _plain(text: str) -> str:
    """Lower case without accents; words apart from digits, of which descriptions are full (`Thorax1.0`)."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(c for c in folded if not unicodedata.combining(c)).replace("ł", "l").replace("ø", "o")
    return re.sub(r"[\W\d_]+", " ", bare).strip()


def _pattern_of(words: str) -> re.Pattern[str]:
    choices = []
    for word in words.split():
        stem = _plain(word)
        if word.startswith("[") or (stem.isascii() and len(stem) < 4):
            choices.append(rf"\b{stem}\b")
        else:
            choices.append(rf"\b{stem}" if stem.isascii() and len(stem) == 4 else stem)
    return re.compile("|".join(choices))


_PATTERNS = {part: _pattern_of(words) for part, words in _STEMS.items()}


@functools.lru_cache(maxsize=1024)
def body_parts(text: str) -> frozenset[str]:
    """The parts of the body that a piece of a header names; none where it names none."""
    plain = _plain(text)
    found = {part for part, pattern in _PATTERNS.items() if pattern.search(plain)}
    if _PATTERNS[WHOLE_BODY].search(plain.replace(" ", "")):
        found.add(WHOLE_BODY)
    return frozenset(found)


def can_show_lungs(parts: frozenset[str]) -> bool | None:
    """Whether a series of these parts shows the lungs; None where nobody can tell, as of a thoracic spine."""
    if not parts or (CHEST in parts and "spine" in parts):
        return None
    return bool(parts & {CHEST, WHOLE_BODY})
