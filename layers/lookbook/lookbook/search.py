"""Search: finds products by the beginnings of words of their titles, ids and tags, without a scan.

Each word of a product is an item under `word#<its first character>`, `<word>#<product_id>`, which holds all of the
product's words. What is searched for is one Query of its longest word; the others are looked for among the words that
each found item holds. So a search reads what begins with its longest word, and writes happen only when a title or
tags change: about ten small items a product.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import UpdateError

from lookbook.tables import CONDITION_FAILED, PRODUCT, Product, SearchWord

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_WORDS, MOST_CHARS = 60, 40  # of a product, and of a word
# A search looks at no more items than this; the cursor goes on from there.
MOST_LOOKED_AT = 2000


def split(text: str) -> list[str]:
    """Return the words of a text in the form in which they are compared: no case, no accents."""
    # Twice: what is folded to lower case may be composed anew, and letters in fancy dress are plain ones first.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return [word[:MOST_CHARS] for word in re.findall(r"[^\W_]+", letters)]


def words_of(product: Product) -> set[str]:
    """Return the words under which a product is found: of its id, its tags and its title."""
    words = [word for text in (product.product_id, *(product.tags or ()), product.title) for word in split(text)]
    return set(list(dict.fromkeys(words))[:MOST_WORDS])


def keep(product: Product) -> None:
    """Bring the index up to a product's title and tags, as they have just been written.

    What is cut off is done by the next one: the product says last which words it is found under.
    """
    wanted, known = words_of(product), set(product.words or ())
    again = False
    while wanted != known or again:
        with SearchWord.batch_write() as batch:
            for word in wanted:
                batch.save(_item(word, product, wanted))
            for word in known - wanted:
                batch.delete(_item(word, product, wanted))
        same = Product.words == known if known else Product.words.does_not_exist()
        try:
            words = Product.words.set(wanted) if wanted else Product.words.remove()  # there are no empty sets
            Product(product.product_id, PRODUCT).update([words], condition=same)
        except UpdateError as error:
            if error.cause_response_code != CONDITION_FAILED:
                raise
            # Someone else has changed title or tags meanwhile: what both wrote is written once more, as it is now.
            product = Product.get(product.product_id, PRODUCT, consistent_read=True)
            wanted, known, again = words_of(product), set(product.words or ()), True
        else:
            product.words = wanted
            return


def _item(word: str, product: Product, words: set[str]) -> SearchWord:
    return SearchWord(f"word#{word[0]}", f"{word}#{product.product_id}", source=product.source, words=words)


def goes_on(text: str, start: str) -> bool:
    """Tell whether a search may go on there: where `find` stopped."""
    words = _sought(text)
    return bool(words) and start.startswith(words[0]) and "#" in start


def _sought(text: str) -> list[str]:
    return sorted(set(split(text)), key=lambda word: (-len(word), word))


def find(text: str, limit: int, start: str | None, source: str | None = None) -> tuple[list[str], str | None]:
    """Return the ids of up to `limit` products (of a source), each once, and where to go on (None: nowhere).

    Products come by the word that was found, then by id. Before the end there may be fewer than `limit`.
    """
    sought = _sought(text)
    if not sought:
        return [], None
    longest = sought[0]
    partition = f"word#{longest[0]}"
    key = {"product_id": {"S": partition}, "sort_key": {"S": start}} if start else None
    found: list[str] = []
    items: Any = SearchWord.query(
        partition,
        SearchWord.sort_key.startswith(longest),
        limit=MOST_LOOKED_AT,
        page_size=250,
        last_evaluated_key=key,
    )
    for item in items:
        word, _, product_id = item.sort_key.partition("#")
        words = set(item.words or ()) if source in (None, item.source) else set()
        # A product with several words that begin so is told at the first of them.
        if word == min(_beginning(words, longest), default=word) and all(_beginning(words, each) for each in sought):
            found.append(product_id)
            if len(found) == limit:
                return found, item.sort_key
    more = items.last_evaluated_key
    return found, more["sort_key"]["S"] if more else None


def _beginning(words: Iterable[str], start: str) -> list[str]:
    return [word for word in words if word.startswith(start)]
