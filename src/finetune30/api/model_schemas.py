"""What answers about models carry."""

from __future__ import annotations

from pydantic import BaseModel, Field

from finetune30.api.schemas import RUN_ID, Moment, Tree
from finetune30.store.model_records import VersionState

_SHA256 = "sha256 of what this version was made with."


class Alias(BaseModel):
    """A movable pointer to a version."""

    model: str = Field(examples=["reviews"])
    alias: str = Field(examples=["production"])
    number: int = Field(description="The version that it leads to.", examples=[7])
    generation: int = Field(description="Its moves so far; send it as If-Match with the next one.", examples=[3])
    moved_at: Moment
    moved_by: str = Field(examples=["anna"])
    protected: bool = Field(description="Whether only the roles promoter and admin move it.")


class Version(BaseModel):
    """A version of a model; only `state` and `certificate` ever change."""

    name: str = Field(description="May be given wherever a run is.", examples=["reviews:7"])
    model: str
    number: int
    run_id: str = Field(examples=[RUN_ID])
    state: VersionState = Field(
        description="CHECKING: it is being asked; REFUSED: it does not answer as its run predicted; RETIRED: no alias "
        "can lead to it any more."
    )
    manifest_sha256: str = Field(description=_SHA256)
    adapter_sha256: str = Field(description=_SHA256)
    labels_sha256: str = Field(description=_SHA256)
    base_sha256: str = Field(description="sha256 over the weights of the base model.")
    version_sha256: str = Field(description="Of version.json, which names every file.")
    facts: Tree = Field(description="Of its run: base, data, score with its interval, labels, doubts.")
    certificate: Tree | None = Field(description="How it answers beside what its run predicted; null: not asked yet.")
    created_at: Moment
    created_by: str


class ListedVersion(Version):
    """A version in its model."""

    aliases: list[str] = Field(description="Those that lead to it.", examples=[["production"]])


class Model(BaseModel):
    """A model: its versions, the newest first, and its aliases."""

    name: str = Field(examples=["reviews"])
    problem_type: str = Field(description="What its versions learnt.")
    created_at: Moment
    created_by: str
    aliases: list[Alias]
    versions: list[ListedVersion]


class ModelList(BaseModel):
    """Models by name, each with the versions that fit."""

    models: list[Model]


class Event(BaseModel):
    """One change of a model."""

    number: int
    model: str
    at: Moment
    kind: str = Field(description="`registered`, `promoted`, `rolled_back` or `retired`.", examples=["promoted"])
    version: int | None
    from_version: int | None = Field(description="Of a move: the version that was there before.")
    alias: str | None
    generation: int | None = Field(description="Of the alias, after the move.")
    actor: str
    reason: str | None
    detail: Tree | None = Field(description="Of a promotion: `paired`, how it compared with what was there.")


class EventList(BaseModel):
    """Changes of a model, the oldest first."""

    events: list[Event]


class Paired(BaseModel):
    """How a version compares with the one under the alias; of a paired test its figures as well."""

    model_config = {"extra": "allow"}

    against: int | None = Field(description="That version; null where the alias leads nowhere yet.")
    distinguishable: bool | None = Field(description="Whether they differ by more than chance; null: not compared.")
    message: str


class Promotion(BaseModel):
    """Where an alias leads, and how the version compares with the one that was there."""

    alias: Alias | None = Field(description="Null for one that was never moved.")
    from_version: int | None
    paired: Paired


class Moved(BaseModel):
    """Where an alias leads after a move."""

    alias: Alias
    from_version: int | None


class Card(BaseModel):
    """CARD.md of a version."""

    name: str = Field(examples=["reviews:7"])
    markdown: str


class Verified(BaseModel):
    """The files of a version are as they were registered."""

    name: str = Field(examples=["reviews:7"])
    files: int = Field(description="How many were hashed again.", examples=[10])


class Server(BaseModel):
    """A server of models (`ft30 serve`) that runs."""

    address: str = Field(examples=["http://localhost:8100"])
    host: str
    pid: int
    started_at: Moment
    seen_at: Moment
    silent: bool = Field(description="It was not heard of for 15 seconds: it may be gone, or answer still.")
    names: list[Tree] = Field(
        description="Of each name that it serves: `name`, `state` (STARTING, READY, SWAPPING, SWAP_REFUSED), and of "
        "the version that answers `model`, `version`, `adapter_sha256`, `generation` of the alias; `refused` with "
        "`version`, `generation`, `tried_again`, `why`."
    )


class ServerList(BaseModel):
    """Servers, the oldest first."""

    servers: list[Server]
