"""All providers there are, by the name of their method."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lookbook import aws
from lookbook.providers.catvton import Catvton
from lookbook.providers.fashn import Fashn
from lookbook.providers.openai import OpenAi

if TYPE_CHECKING:
    from lookbook.providers.base import Provider
    from lookbook.settings import MethodSettings


def all_of(settings: MethodSettings) -> dict[str, Provider]:
    """Return the providers as configured. Only a function that is told the secrets' names can submit and poll."""
    found: list[Provider] = [
        Catvton(settings, partial(aws.secret, settings.gpu_endpoint_key_secret)),
        Fashn(settings, partial(aws.secret, settings.fashn_key_secret)),
        OpenAi(settings, partial(aws.secret, settings.open_ai_key_secret)),
    ]
    return {provider.name: provider for provider in found}
