"""Settings of the pretend Claude, the same for ``tokenweir simulate`` and ``tokenweir demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.core.units import Bytes, Seconds
from gateway.simulator.directives import parse


class SimulatorSettings(BaseModel):
    """How it answers where a request does not ask for something else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens_per_second: Annotated[float, Field(ge=0, le=1e6)] = Field(
        20.0, description="Pace of the answer, easy to read along; 0 sends as fast as possible."
    )
    time_to_first_token: Seconds = Field(
        0.26, description="Request to first content delta; headers and the opening events come after half of it."
    )
    jitter: Seconds = Field(0.01, description="Each token comes up to this much late; the pace itself does not drift.")
    seed: int = Field(0, description="Same seed and same requests: same answers, ids and jitter.")
    replay: Path | None = Field(None, description="A recorded .sse file that answers every request, byte for byte.")
    replay_dir: Path | None = Field(
        None, description="Directory from which requests may name a recording in the header x-sim-replay."
    )
    chunk_size: Annotated[int, Field(ge=-1)] = Field(
        0, description="Bytes per write; 0 is one event per write, -1 the whole answer in one."
    )
    fault: str = Field("", description="Directives for every request that brings none of its own.")
    ping_interval: Seconds = Field(
        15.0, description="A ping goes out after so much silence, as Claude's do; 0 sends only the first one."
    )
    record: bool = Field(False, description="Keep the last request for GET /_sim/last, credentials masked.")
    max_body: Bytes = Field(
        32 * 1024 * 1024, validate_default=True, description="Largest request body, Claude's own limit."
    )

    @field_validator("fault")
    @classmethod
    def _in_the_language(cls, value: str) -> str:
        parse(value)
        return value

    @field_validator("replay")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @field_validator("replay_dir")
    @classmethod
    def _directory(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError(f"there is no directory {value}")
        return value
