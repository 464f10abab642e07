"""Settings that every service has, from the environment. An unknown `CEC_` variable is an error: a slip, likely."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "CEC_"


class Settings(BaseSettings):
    """Read from `CEC_…` variables. Every field is documented in docs/reference/settings.md, generated from here."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    kafka_bootstrap_servers: str = Field("", description="Kafka to use, `host:port[,…]`; empty: the embedded one.")
    postgres_dsn: str = Field("", description="PostgreSQL to use (a role that may create databases); empty: embedded.")
    database_prefix: str = Field("cec_", description="Each service has a database of its own: this prefix + its name.")
    pool_size: int = Field(8, description="PostgreSQL connections per service, at most.", ge=2, le=200)
    public_url: str = Field("http://127.0.0.1:8311", description="The one origin under which everything is served.")
    token_issuer: str = Field("https://issuer.cec.invalid", description="`iss` that bearer tokens must carry.")
    token_audience: str = Field("citizen-engaged", description="`aud` that bearer tokens must carry.")
    jwks: str = Field("", description="The issuer's JWKS: an https address or a file's path; empty: the embedded one.")
    var: Path = Field(Path("var"), description="Where the embedded parts, keys and results are kept.")
    clock_movable: bool = Field(default=False, description="Whether program time may be moved (demos and tests only).")
    batch_size: int = Field(2_000, description="Records consumed in one transaction, at most.", ge=1, le=10_000)
    poison_limit: int = Field(50, description="Events in a row that are poison, at which a consumer stops.", ge=1)
    poll_seconds: float = Field(1.0, description="How often the outbox and the schedule are looked at, unwoken.", gt=0)
    instance: str = Field(
        "", description="This replica's name, kept over restarts: a restart moves no partition. Empty: none, it does."
    )
    log_level: str = Field("warning", description="debug, info, warning or error.")
    body_limit: int = Field(1_000_000, description="Bytes of a request body, at most.", ge=1_000)


def unknown_variables(known: Iterable[type[Settings]], environ: Mapping[str, str] = os.environ) -> list[str]:
    """The `CEC_` variables that no settings class in `known` reads."""
    names = {PREFIX + field.upper() for settings in known for field in settings.model_fields}
    return sorted(name for name in environ if name.startswith(PREFIX) and name.upper() not in names)
