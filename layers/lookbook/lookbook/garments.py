"""Tells whether a product is a garment, and which part of a person it covers: the try-on model asks for that.

It reads words and nothing else. English names a thing by its last noun ("Dress Shirt", "Shirt Dress", "Shirt Dress
Bag"), Portuguese and Spanish by their first ("Vestido Camisa", "Bolsa para Vestido"). So a word for a thing that is
no garment counts as much as a garment's, and the words below are those that shops put next to garments' names.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal

Garment = Literal["upper", "lower", "overall"]
_Kind = Literal["upper", "lower", "overall", "other"]  # other: no garment

# Without accents and in the singular; plurals in -s, -es and -ies are understood.
_ENGLISH: Mapping[_Kind, str] = {
    "upper": """
        top tee tshirt shirt undershirt overshirt sweatshirt blouse tunic camisole cami sweater jumper pullover
        cardigan hoodie hoody vest waistcoat gilet jacket coat overcoat trenchcoat raincoat blazer parka anorak
        windbreaker poncho cape bolero shrug corset bustier bra bralette bandeau outerwear kurta rashguard
    """,
    "lower": """
        pant trouser jean slacks chino jogger sweatpant legging jegging tights shorts boardshorts bermuda trunks skirt
        miniskirt skort culotte capri kilt sarong bottoms underpants boxers briefs panty thong
    """,
    "overall": """
        dress sundress minidress nightdress nightgown gown frock jumpsuit playsuit romper onesie bodysuit catsuit
        overalls dungaree coverall suit tracksuit sweatsuit pantsuit swimsuit swimwear bikini tankini monokini
        pajama pyjama pijama sleepwear loungewear nightwear lingerie robe bathrobe kimono kaftan caftan abaya hanfu
        qipao cheongsam saree sari lehenga costume babydoll coverup
    """,
    "other": """
        shoe sneaker boot bootie sandal slipper heel loafer trainer cleat clog footwear shoelace sock stocking
        pantyhose hosiery bag handbag backpack purse wallet clutch tote satchel luggage suitcase briefcase pouch
        watch smartwatch jewelry jewellery necklace earring bracelet bangle ring pendant brooch anklet keychain
        glass sunglass eyewear goggle hat cap beanie beret headband headwear hairband scrunchie wig scarf shawl glove
        mitten belt suspender necktie cufflink umbrella mask apron bib accessory
        hanger rack organizer organiser storage box basket case cover holder sticker perfume cologne
        steamer iron brush shaver roller remover machine mannequin detergent toy doll figurine puzzle
        pillow pillowcase cushion blanket quilt duvet curtain rug mat towel cookware tableware knife
        phone smartphone iphone laptop tablet pet puppy kitten
    """,
}
_ROMANCE: Mapping[_Kind, str] = {
    "upper": """
        camisa camiseta blusa blusinha blusao regata moletom jaqueta casaco casaquinho sobretudo cardiga colete sutia
        sueter remera playera polera sudadera chaqueta cazadora campera chamarra abrigo chaleco gabardina sujetador
    """,
    "lower": "calca calcinha calcao calcoes saia cueca pantalon vaquero falda pollera malla calzoncillo",
    "overall": """
        vestido vestidinho macacao macacoes macaquinho jardineira terno traje roupao camisola biquini enterizo banador
    """,
    "other": """
        sapato tenis sandalia bota botina chinelo bolsa mochila carteira relogio oculos colar brinco pulseira anel
        chapeu bone gorro meia cinto gravata lenco luva capinha capa cabide acessorio zapato zapatilla bolso cartera
        reloj gafas pendiente pulsera anillo sombrero gorra calcetin cinturon corbata bufanda guante funda percha
    """,
}
# They count where no better word does: "Turtleneck" is a garment, "Dress Turtleneck" a dress.
_FAINT: Mapping[_Kind, str] = {
    "upper": "longsleeve shortsleeve turtleneck polo henley jersey fleece bomber puffer knitwear cropped",
    "lower": "underwear",
    "overall": "twopieceset uniform maxi",
    "other": "",
}
# Of categories only. A department has no garments; a broad word says "clothing", not which, so the title is asked.
_DEPARTMENTS = """
    home kitchen bathroom garden furniture electronic computer office mobile beauty makeup health care fragrance
    grocery automotive automobile car motorcycle vehicle tool lighting decoration craft stationery
"""
_CLOTHING = "clothing clothes apparel wear homewear menswear activewear sportswear fashion roupa ropa moda vestuario"
_BROAD_GARMENTS: Mapping[str, Garment] = {"top": "upper", "bottoms": "lower"}  # shops file dresses under "Tops" too

# Several words that mean one thing, or that only sound like a garment (""). Matched in this order.
_PHRASES = [
    (re.compile(rf"\b(?:{pattern})\b"), replacement)
    for pattern, replacement in (
        (r"t shirt|tee shirt", "tshirt"),
        (r"(sweat|swim|body|jump|cat|track) (suit|shirt|pant)(s?)", r"\1\2\3"),
        (r"bathing suit|trajes? de bano|roupas? de banho", "swimsuit"),
        (r"cover ups?", "coverup"),
        (r"baby doll(?= (?:dress|top|lingerie|nightdress))", "babydoll"),
        (r"body (?:feminino|femenino)", "bodysuit"),
        (r"bell bottoms?", "pants"),
        (r"(?:two|three|2|3) (?:pieces?|pcs?) (?:sets?|suits?|outfits?)|matching sets?|co ?ords?", "twopieceset set"),
        (r"sets? of", ""),
        (r"long sleeved?s?", "longsleeve"),
        (r"shorts? sleeved?s?", "shortsleeve"),
        (r"(?:cap|bell) sleeved?s?|[od] rings?|boots? cut|(?:polo|jersey) (?=collar|dress)", ""),
        (r"bow ties?|neck ties?|tie (?:clip|pin)s?|ties?$", "necktie"),
        (r"lap top", "laptop"),
        (r"(?:table|desk|counter|stove|roof|mountain|high|low) tops?", ""),
        (r"top (?:quality|grade|selling|seller|rated|brand|handle|gun)", ""),
        (r"(?:bed|tree|table|side) skirts?|skirt steak|(?:life|book) (?:jacket|vest)s?|jumper (?:cable|wire)s?", ""),
        (r"coat hooks?", "hanger"),
        (r"dress up|dress forms?", ""),
        (r"(?:dogs?|cats?|dolls?) (?=clothes|clothing|outfit|costume|sweater|coat|jacket|hoodie|vest)", "pet "),
        (r"pet \w+|for (?:dogs?|cats?|dolls?)", "pet pet"),
    )
]
_ASIDE = re.compile(r"\b(?:with|without|for|w|com|sem|para|con|sin)\b")  # after it comes what is not the thing itself
_SET = re.compile(r"\b(?:sets?|outfits?|conjuntos?)\b")


def _table(*vocabularies: Mapping[_Kind, str]) -> dict[str, _Kind]:
    return {word: kind for words in vocabularies for kind, listed in words.items() for word in listed.split()}


_ROMANCE_WORDS = _table(_ROMANCE)
_FAINT_WORDS = _table(_FAINT)
_WORDS = _table(_ENGLISH, _ROMANCE)
_GARMENTS: Mapping[str, Garment] = {"upper": "upper", "lower": "lower", "overall": "overall"}
_CATEGORY_WORDS: dict[str, _Kind | Literal["clothing"]] = {
    **dict.fromkeys(_DEPARTMENTS.split(), "other"),
    **dict.fromkeys(_CLOTHING.split(), "clothing"),
    **_WORDS,
}


def garment_category(title: str, category: str) -> Garment | None:
    """Return which part of the body a product covers; None where it is no garment, or nothing says it is one.

    The category (a path such as "Women's Clothing > Dresses") has the first word, its last segment before the
    others. The title decides where the category is silent or broad ("Women's Clothing", "Tops", "Shirts & Skirts").
    """
    fallback = ""
    for segment in reversed(re.split(r"[>/|»\\]", category)):
        parts = re.split(r"[&,+]|\b(?:and|e|y)\b", segment.lower())
        heads = [head for part in parts if (head := _head(_plain(part), _CATEGORY_WORDS))]
        if not heads:
            continue
        kinds = {kind for _, kind in heads}
        word, kind = heads[-1]
        if len(kinds) == 1 and kind != "clothing" and word not in _BROAD_GARMENTS:
            return _GARMENTS.get(kind)
        fallback = kind
        break
    return _GARMENTS.get(_title_kind(title) or fallback)


def _title_kind(title: str) -> str | None:
    text = _plain(title)
    if "pet pet" in text:
        return "other"
    head = _head(_ASIDE.split(text, maxsplit=1)[0], _WORDS) or _head(text, _WORDS)
    if head is None:
        return None
    # "Crop Top and Skirt Set" covers more than its last word says.
    return "overall" if head[1] != "other" and _SET.search(text) else head[1]


def _plain(text: str) -> str:
    """Lower-case words without accents, phrases made one word."""
    text = unicodedata.normalize("NFKD", text.lower())
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"['’`]s?\b", "", text)  # noqa: RUF001 - the curly apostrophe is what shops write
    text = " ".join(re.findall(r"[a-z0-9]+", text))
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    return text


def _head(text: str, words: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the word that names the thing, in the singular, and its kind."""
    for vocabulary in (words, _FAINT_WORDS):
        known = [(word, vocabulary[word]) for token in text.split() if (word := _singular(token, vocabulary))]
        if known:
            return known[0] if known[0][0] in _ROMANCE_WORDS else known[-1]
    return None


def _singular(token: str, words: Mapping[str, str]) -> str | None:
    forms = (token, token.removesuffix("s"), token.removesuffix("es"), token.removesuffix("ies") + "y")
    return next((form for form in forms if form in words), None)
