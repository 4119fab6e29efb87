"""What a cover is asked for, of a product that has no picture of its own: its name, description, format and language.

Hotmart's products are such: their sellers write Portuguese, Spanish and English.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal, get_args

Locale = Literal["pt", "es", "en"]

MOST_DESCRIPTION = 1000  # characters; more of it makes no better picture

_LANGUAGES: dict[str, tuple[str, str]] = {
    "pt": ("Portuguese", "people who speak Portuguese, most of them in Brazil"),
    "es": ("Spanish", "people who speak Spanish, in Latin America and Spain"),
    "en": ("English", "people who speak English"),
}
# Hotmart's formats; any other one is said as it stands.
_FORMATS = {
    "EBOOK": "an e-book",
    "ONLINE_COURSE": "an online course",
    "COMMUNITY": "an online community",
    "AGENT": "an AI assistant",
}
# Frequent words; what two languages share counts for both.
_FREQUENT: dict[Locale, str] = {
    "pt": "não você com para uma em do da dos das seu sua os ao mais são como que e aprenda sem",
    "es": "no usted con para una en el los las del su tu más son cómo como que y aprende sin",
    "en": "the and of to in with for your you a an how is are not learn without from this that",
}
_CURRENCIES: dict[str, Locale] = {"BRL": "pt", "MXN": "es", "COP": "es", "CLP": "es", "ARS": "es", "PEN": "es"}

TEMPLATE = (
    "A professional cover picture for {what}. Its name, in {language}: “{name}”.{about} Show one clear subject or "
    "scene that tells at a glance what it is about and appeals to its buyers, {buyers}: photographic, softly lit, on a "
    "clean background, centred, in sharp focus. There is no text in the picture: no letters, words, numbers, titles, "
    "signs, logos or watermarks, and nothing with writing on it."
)


def write(name: str, description: str = "", format_or_category: str = "", locale: str = "") -> str:
    """Return the prompt for a product's cover; at most some 2,500 characters. A locale that is none is guessed."""
    language, buyers = _LANGUAGES.get(locale) or _LANGUAGES[locale_of(f"{name} {description}")]
    kind = _FORMATS.get(format_or_category, format_or_category.replace("_", " ").lower())
    what = kind if format_or_category in _FORMATS else f"a product ({kind})" if kind else "a product"
    text = " ".join(description.split())
    if len(text) > MOST_DESCRIPTION:
        text = f"{text[:MOST_DESCRIPTION].rsplit(' ', 1)[0]} …"
    about = f" What it says of itself, in {language}: “{text}”." if text else ""
    return TEMPLATE.format(what=what, language=language, name=name, about=about, buyers=buyers)


def locale_of(text: str, currency: str = "") -> Locale:
    """Guess the language of a product's texts by their most frequent words; where they do not tell, by its currency."""
    words = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    scores: dict[Locale, int] = {
        locale: sum(words[word] for word in _FREQUENT[locale].split()) for locale in get_args(Locale)
    }
    scores["pt"] += 2 * len(re.findall(r"[ãõç]|lh|nh", text.lower()))
    scores["es"] += 2 * len(re.findall(r"[ñ¿¡]|ción\b", text.lower()))
    best = max(scores.values())
    leading = [locale for locale, score in scores.items() if score == best]
    if len(leading) == 1:
        return leading[0]
    by_currency = _CURRENCIES.get(currency)
    return by_currency if by_currency in leading else "en" if "en" in leading else leading[0]
