"""What a provider of images is: estimate, submit, poll. One module beside this one for each.

To add one: its module here, a line in `all_of` (registry.py), its secret and parameters in template.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from lookbook.errors import ProviderError

if TYPE_CHECKING:
    from lookbook.state import Item

Parameters = Mapping[str, int | float | str]

FINAL = "This is final for this picture and model photo; another of either, or another method, may pass."

# What must be written once a provider has answered takes less than this.
WRITE_SECONDS = 5


class RefusedError(ProviderError):
    """The provider said no before it took the work: nothing was bought.

    `final` if asking again cannot help; `stops_run` if it will refuse all else too (credits used up); `bad_key` if it
    did not accept the key; `retry_after` is how many seconds it asks to be left alone.
    """

    def __init__(
        self,
        message: str,
        *,
        final: bool = False,
        stops_run: bool = False,
        bad_key: bool = False,
        retry_after: float = 0,
    ) -> None:
        super().__init__(message)
        self.final = final
        self.stops_run = stops_run
        self.bad_key = bad_key
        self.retry_after = retry_after


class UncertainError(ProviderError):
    """No answer that says whether the work was taken. It may have been bought."""


class TroubleError(ProviderError):
    """A job's state could not be read this time; it can be asked for again at no cost. `bad_key` as above."""

    def __init__(self, message: str, *, bad_key: bool = False) -> None:
        super().__init__(message)
        self.bad_key = bad_key


@dataclass(frozen=True, slots=True)
class Order:
    """One image to make: the product's picture (JPEG; empty if it has none), who wears it, and what it is."""

    product: Item
    picture: bytes
    model_photo: bytes
    seed: int


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as its provider tells it.

    `cost_microusd` is what it was charged, `work_ms` how long it was worked on, `usage` what the provider counted, in
    its own units. `image` is the raw result of a completed job. `final`: the same inputs would fail again, and the
    reason should say so (FINAL).
    """

    status: Literal["waiting", "completed", "failed", "blocked", "gone"]
    cost_microusd: int = 0
    work_ms: int = 0
    usage: str = ""
    image: bytes = b""
    model_version: str = ""
    reason: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """An accepted job: the provider's id of it, and its state where the answer already is the result."""

    job_id: str
    state: JobState | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one image costs: micro-dollars, at most so many (which a budget reserves), milliseconds, and how we know."""

    microusd: int
    most_microusd: int
    ms: int
    basis: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider allows an account: jobs at once, and submissions a minute."""

    at_once: int
    per_minute: int
    job_seconds: float


class Provider(Protocol):
    """One way to make an image."""

    @property
    def name(self) -> str:
        """The method's name, as users write it."""
        ...

    @property
    def about(self) -> str:
        """What it does, in half a sentence."""
        ...

    @property
    def licence(self) -> str:
        """What its images may be used for."""
        ...

    @property
    def model_version(self) -> str:
        """Part of the reuse key: another version makes other images."""
        ...

    @property
    def wears(self) -> bool:
        """Whether it tries garments on, and so needs a model photo."""
        ...

    @property
    def moody(self) -> bool:
        """Whether what its filter has blocked may pass with another seed."""
        ...

    @property
    def placeholders(self) -> bool:
        """Whether its filter answers with a placeholder picture: then equal bytes for other work mean blocked."""
        ...

    @property
    def limits(self) -> Limits | None:
        """What it allows at once and a minute, if that is little."""
        ...

    @property
    def call_seconds(self) -> float:
        """The longest that `submit` may take, and what must be written after it."""
        ...

    @property
    def unavailable(self) -> str:
        """Why it cannot be used as Lookbook is configured; empty if it can."""
        ...

    def parameters(self, product: Item, seed: int) -> Parameters:
        """Return what else decides the result; all of it is part of the reuse key."""
        ...

    def estimate(self) -> Estimate:
        """Return what an image costs by the configured prices."""
        ...

    def submit(self, order: Order) -> Submission:
        """Hand a job in, once. Raises RefusedError, UncertainError."""
        ...

    def poll(self, job_id: str) -> JobState:
        """Ask what became of a job. Raises TroubleError when that cannot be told now."""
        ...
