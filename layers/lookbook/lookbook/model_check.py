"""The model check: asks OpenAI when the model ends. A metric filter reads the days left from the log, for an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from lookbook import aws, notices
from lookbook.providers.http import read_key

if TYPE_CHECKING:
    from datetime import datetime

    from lookbook.settings import MethodSettings

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """The check with its configuration."""

    settings: MethodSettings

    def run(self, moment: datetime) -> dict[str, Any]:
        """Ask and note; return the model, its end, and the days left, without them if no end is known or no key set.

        Raises what the openai package raises when OpenAI cannot be asked; the schedule tries again.
        """
        import openai  # noqa: PLC0415 - it takes 0.35 s to import

        model = self.settings.open_ai_model
        key = read_key(partial(aws.secret, self.settings.open_ai_key_secret))
        url = self.settings.open_ai_base_url
        client = openai.OpenAI(api_key=key, base_url=url, max_retries=0, timeout=TIMEOUT_SECONDS)
        try:
            # `shutdown_date` is newer than the package's own type of a model.
            told = getattr(client.models.retrieve(model), "shutdown_date", None)
            ends = date.fromisoformat(told) if told else None
        except openai.NotFoundError:
            ends = moment.date() - timedelta(days=1)  # it is gone already; no one knows since when
        except openai.AuthenticationError:
            aws.secret.cache_clear()
            return {"model": model, "reason": "OpenAI refused our key; set the secret OpenAiKey."}
        notices.keep(model, ends, moment)
        if ends is None:
            return {"model": model}
        return {"model": model, "shutdown_date": ends.isoformat(), "days_left": notices.days_left(ends, moment)}
