"""What a cover is asked for, of a product that has nothing but words."""

from __future__ import annotations

import pytest

from lookbook import cover_prompt

TEXTS = [
    ("Receitas Fáceis para o Dia a Dia", "Aprenda a cozinhar com ingredientes que você já tem em casa.", "pt"),
    ("Curso de Violão para Iniciantes", "", "pt"),
    ("Recetas fáciles para cada día", "Aprende a cocinar con los ingredientes que ya tienes en casa.", "es"),
    ("Guitarra desde cero", "El curso más completo para aprender en tu casa sin profesor.", "es"),
    ("Easy Meals for Busy People", "Learn to cook with what you have at home, and enjoy it.", "en"),
    ("Excel Pro", "", "en"),
]


@pytest.mark.parametrize(("name", "description", "locale"), TEXTS)
def test_the_language_is_told_by_the_words(name: str, description: str, locale: str) -> None:
    assert cover_prompt.locale_of(f"{name} {description}") == locale


@pytest.mark.parametrize(("currency", "locale"), [("BRL", "pt"), ("MXN", "es"), ("USD", "en"), ("", "en")])
def test_where_words_do_not_tell_the_currency_does(currency: str, locale: str) -> None:
    assert cover_prompt.locale_of("Excel Pro", currency) == locale


def test_a_prompt_has_all_that_is_known_and_asks_for_no_text() -> None:
    text = cover_prompt.write("Pão Caseiro", "Faça {pão}\n  em casa.", "ONLINE_COURSE", "pt")

    for part in ("an online course", "“Pão Caseiro”", "“Faça {pão} em casa.”", "in Portuguese", "Brazil", "no text"):
        assert part in text, part


def test_formats_and_categories_are_said_as_people_say_them() -> None:
    assert "cover picture for an e-book." in cover_prompt.write("X", "", "EBOOK")
    assert "cover picture for a product (live event)." in cover_prompt.write("X", "", "LIVE_EVENT")
    assert "cover picture for a product (home > planters)." in cover_prompt.write("X", "", "Home > Planters")
    assert "cover picture for a product." in cover_prompt.write("X")


def test_a_prompt_is_within_every_provider_s_limit() -> None:
    text = cover_prompt.write("n" * 500, "word " * 5000, "c" * 500)
    assert len(text) < 4000
    assert "word …”" in text
