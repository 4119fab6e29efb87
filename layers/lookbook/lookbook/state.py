"""What travels through the state machine for one product: keys and counts, never pictures (256 KiB is the limit)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

OutcomeStatus = Literal["reused", "linked", "generated", "planned", "failed", "blocked", "deferred", "over_budget"]
MethodName = Literal["catvton", "fashn", "openai"]


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), defer_build=True)


class ModelPhoto(_State):
    """A model photo as a run uses it; `sha256` is that of its bytes in S3."""

    name: str
    key: str
    sha256: str


class RunContext(_State):
    """What every step needs to know of its run."""

    run_id: str
    requested_at: str = Field(default="", description="When it was asked for: of two new covers the later one counts.")
    started_by: str = ""
    plan: bool = Field(default=False, description="Only say what would be done.")
    variants: int
    reuse: bool
    fresh_for: str = Field(default="", description="Without reuse: the run whose id the seeds are made of.")
    model_photos: list[ModelPhoto]
    max_concurrency: int
    budget_microusd: int | None = None
    stores: list[str] = Field(default=[], description="Where the products are published, in the order asked for.")
    plan_of: str = Field(default="", description="The run whose plan lists what is published: of a retry, the first.")
    action: Literal["publish", "unpublish", "match"] = Field(default="publish", description="What to do there.")

    def model_photo(self, variant: int) -> ModelPhoto:
        """Return the photo of a variant; with more variants than photos they are used in turn."""
        return self.model_photos[(variant - 1) % len(self.model_photos)]


class Item(_State):
    """One product that needs work: a line of items.jsonl."""

    index: int
    product_id: str
    title: str
    category: str
    source: str
    image_url: str = Field(description="Empty if the product has no picture.")
    garment: Literal["upper", "lower", "overall", ""] = Field(description="Empty if nothing says that it is one.")
    method: MethodName
    prompt: str = Field(default="", description="What to ask for in words; empty: what the method asks by itself.")
    in_flight: bool = Field(default=False, description="Jobs of it are paid for and not fetched yet.")
    unrecorded: int = Field(default=0, description="Passes in which its child ended without a record.")


class Job(_State):
    """A variant in the making; `attempt` is its ledger entry's sort key, the cost what this run has paid for it.

    `own`: it was handed in for this product, not for another one with the same picture. `tries`: how often the
    product's picture could not be fetched for it. `reseeded`: its first seed's
    result was blocked, and this is the other one; what that cost is in `before_*`.
    """

    variant: int
    seed: int
    reuse_key: str
    status: Literal["waiting", "staged", "linked", "failed", "blocked", "over_budget", "stopped"] = "waiting"
    attempt: str = ""
    job_id: str = ""
    staging_key: str = ""
    image_id: str = ""
    reason: str = ""
    cost_microusd: int = 0
    work_ms: int = 0
    own: bool = True
    tries: int = 0
    reseeded: bool = False
    before_microusd: int = 0
    before_ms: int = 0


class Outcome(_State):
    """What became of a product; the state machine writes it to the run."""

    status: OutcomeStatus
    reason: str = ""
    work: str = Field(default="", description="The reuse keys of what a plan would generate, apart by spaces.")
    images_generated: int = 0
    images_reused: int = 0
    cost_microusd: int = 0
    work_ms: int = 0


class ProductState(_State):
    """The input and output of Check, Generate and Save."""

    run: RunContext
    product: Item
    next: Literal["generate", "save", "wait", "record"] = "record"
    wait_seconds: int = 0
    started_at: float = Field(default=0, description="Epoch seconds of the first Check.")
    defer_at: float = Field(default=0, description="Epoch seconds after which the product is put off.")
    claimed_until: float = Field(default=0, description="Epoch seconds at which the claim on the product expires.")
    tries: int = Field(default=0, description="Times in a row that the product's picture could not be fetched.")
    source_sha256: str = Field(default="", description="Of the product's picture, once it has been fetched.")
    missing: list[int] = []
    jobs: list[Job] = []
    outcome: Outcome | None = None
    error: dict[str, Any] | None = None

    def record(self, outcome: Outcome) -> ProductState:
        return self.model_copy(update={"next": "record", "outcome": outcome, "wait_seconds": 0})

    def wait(self, seconds: int) -> ProductState:
        return self.model_copy(update={"next": "wait", "wait_seconds": seconds})

    def ids(self) -> dict[str, Any]:
        """Return what a log line about this product should carry."""
        return {
            "run_id": self.run.run_id,
            "product_id": self.product.product_id,
            "next": self.next,
            "outcome": self.outcome.status if self.outcome else None,
        }
