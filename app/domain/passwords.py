"""Which passwords are too weak, and why.

Length first, then what guessing programs try first (NIST SP 800-63B, 5.1.1.2): common words with
digits or look-alike characters around them, one's own name, runs and repetitions. No demands for
kinds of characters: they make passwords that are hard to remember and easy to guess.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

MIN_LENGTH = 10
MAX_LENGTH = 200

_FILE = Path(__file__).parent / "data" / "common_passwords.txt"
_LOOK_ALIKES = str.maketrans("0134578@$!", "oleastbasi")
_MIN_DIFFERENT = 5
_MIN_NAME = 4


def weakness(password: str, *own: str) -> str | None:
    """Why ``password`` must not be used, as a sentence; ``None`` where it may.

    ``own``: the user's name and e-mail address, which are easy to guess.
    """
    if len(password) < MIN_LENGTH:
        return f"Too short: use at least {MIN_LENGTH} characters."
    if len(password) > MAX_LENGTH:
        return f"Too long: use at most {MAX_LENGTH} characters."
    folded = password.casefold()
    if len(set(folded)) < _MIN_DIFFERENT:
        return "Too few different characters: a few of them repeated are quickly guessed."
    if _is_run(folded):
        return "A run of neighbouring characters is among the first that are guessed."
    if _is_common(folded):
        return "This is among the most common passwords, so it is among the first guessed."
    if _names_owner(folded, own):
        return "It is little more than your own name or e-mail address."
    return None


@lru_cache(maxsize=1)
def _common() -> frozenset[str]:
    return frozenset(_FILE.read_text(encoding="utf-8").split())


def _is_common(folded: str) -> bool:
    """A common word, whatever digits and punctuation stand around it."""
    plain = folded.translate(_LOOK_ALIKES)
    trimmed = folded.strip("0123456789!@#$%^&*()-_=+.,?/ ")
    candidates = {
        folded,
        _letters(folded),
        _letters(plain),
        trimmed,
        trimmed.translate(_LOOK_ALIKES),
        _letters(trimmed.translate(_LOOK_ALIKES)),
    }
    return not candidates.isdisjoint(_common())


def _letters(text: str) -> str:
    return "".join(c for c in text if c.isalpha())


def _is_run(folded: str) -> bool:
    steps = {ord(b) - ord(a) for a, b in zip(folded, folded[1:], strict=False)}
    return steps in ({1}, {-1})


def _names_owner(folded: str, own: tuple[str, ...]) -> bool:
    """Whether fewer than five characters remain when one's own name is taken out."""
    for text in own:
        for part in (text.casefold(), text.casefold().partition("@")[0]):
            if len(part) >= _MIN_NAME and len(folded.replace(part, "")) < _MIN_DIFFERENT:
                return True
    return False
