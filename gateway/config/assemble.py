"""The whole configuration: every part's own settings, put together and frozen.

``Config()`` is the built-in defaults and reads nothing; :func:`gateway.config.load.load_config` reads the file and
the environment it is given. A part's settings live with the part; only what belongs to no part is declared here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.core.dialects.settings import ChatSettings
from gateway.core.keys import Peppers
from gateway.core.plans import AnonymousDefault, Plan
from gateway.core.pricing import PriceOverrides
from gateway.core.units import Confidential
from gateway.identity.settings import AnonymousSettings, KeySettings
from gateway.ledger.settings import LedgerSettings
from gateway.log.settings import LogSettings
from gateway.metrics.settings import MetricsSettings
from gateway.quota.settings import LimitStoreSettings
from gateway.traces.settings import TracesSettings
from gateway.upstream.settings import TransportSettings, UpstreamSettings
from gateway.web.settings import ServerSettings

DATABASE_FILE = "tokenweir.db"


class Config(BaseSettings):
    """Everything that an operator can set."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="TOKENWEIR_",
        env_nested_delimiter="__",
        # docker compose and systemd set a variable to nothing where none was meant: empty is unset.
        env_ignore_empty=True,
    )

    data_dir: Path = Field(
        Path("data"), description="Directory of the database and of the generated key pepper, made at start (0700)."
    )
    database_url: Annotated[str, Confidential()] = Field(
        "",
        examples=["postgresql://tokenweir:password@db.internal/tokenweir"],
        description=f"Tenants and keys: sqlite:///path, or postgresql://user:password@host/name, which needs an extra: "
        f"pip install 'tokenweir[postgresql]'. Unset is the SQLite file {DATABASE_FILE} in data_dir.",
    )
    database_url_file: str | None = Field(
        None, examples=["/run/secrets/database_url"], description="File that holds database_url."
    )
    redis_url: SecretStr | None = Field(
        None,
        examples=["redis://localhost:6379/0"],
        description="Redis 6.2 or later, or Valkey, where any number of workers and replicas count limits together "
        "(redis://, rediss://, unix://). Unset, each process counts alone.",
    )
    redis_url_file: str | None = Field(
        None, examples=["/run/secrets/redis_url"], description="File that holds redis_url."
    )
    key_pepper: SecretStr | None = Field(
        None,
        examples=["at-least-16-characters"],
        description="Secret with which keys are hashed; absent, one is generated in data_dir. Lost, all keys are void.",
    )
    key_pepper_file: str | None = Field(
        None, examples=["/run/secrets/key_pepper"], description="File that holds key_pepper."
    )
    server: ServerSettings = Field(ServerSettings(), description="The side that clients see.")
    chat: ChatSettings = Field(ChatSettings(), description="What the chat route fills in.")
    upstreams: Annotated[tuple[UpstreamSettings, ...], Field(min_length=1)] = Field(
        (UpstreamSettings(),), description="Where Claude is; the first is asked first, the next when it fails."
    )
    upstream: TransportSettings = Field(
        TransportSettings(), description="Connections and deadlines, the same for every upstream."
    )
    keys: KeySettings = Field(KeySettings(), description="Verification of keys.")
    prices: PriceOverrides = Field(
        default_factory=dict,
        examples=['"claude-opus-*"'],
        description='Prices that differ from the built-in table, by pattern of model: [prices."claude-opus-*"].',
    )
    limits: LimitStoreSettings = Field(LimitStoreSettings(), description="How limits are counted.")
    ledger: LedgerSettings = Field(LedgerSettings(), description="The ledger: a row for each request, in the database.")
    plans: dict[str, Plan] = Field(
        default_factory=lambda: {"default": Plan()},
        description="Limits by name of plan; default is the one of tenants and keys that name none.",
    )
    anonymous: tuple[AnonymousSettings, ...] = Field((), description="Browsers without credentials, by origin.")
    anonymous_default: AnonymousDefault = Field(
        AnonymousDefault(), description="Limit per client address of an anonymous plan that sets none."
    )
    log: LogSettings = Field(LogSettings(), description="The log on standard output.")
    traces: TracesSettings = Field(TracesSettings(), description="Spans for an OpenTelemetry collector.")
    metrics: MetricsSettings = Field(MetricsSettings(), description="Metrics on the operators' address.")

    @field_validator("key_pepper", mode="after")
    @classmethod
    def _pepper_is_well_formed(cls, pepper: SecretStr | None) -> SecretStr | None:
        if pepper is not None:
            Peppers.parse(pepper.get_secret_value())
        return pepper

    @field_validator("plans", mode="after")
    @classmethod
    def _default_plan_exists(cls, plans: dict[str, Plan]) -> dict[str, Plan]:
        return {"default": Plan(), **plans}

    def model_post_init(self, _context: object, /) -> None:
        """Fill in the database that follows from ``data_dir``."""
        if not self.database_url:
            # The model is frozen for everyone else; here it is still being made.
            self.__dict__["database_url"] = f"sqlite:///{self.data_dir / DATABASE_FILE}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the hook's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what is given: the environment is an argument of ``load_config``, never ambient."""
        return (init_settings,)
