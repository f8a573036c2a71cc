"""``[log]``: how much is said, and in which form."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.units import Bytes, Seconds

Level = Literal["debug", "info", "warning", "error"]


class LogSettings(BaseModel):
    """The log on standard output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Level = Field("info", description="The gateway's own lines below it are left out; requests are info.")
    library_level: Level = Field(
        "warning", description="The same for lines of libraries, of which only the fixed part is logged."
    )
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="One JSON object a line, or columns for reading; auto is console on a terminal only."
    )
    gather: Seconds = Field(
        0.004,
        description="Requests that ended are told to log and metrics together, at most so late: under load that is "
        "cheaper, and while they are told others wait. 0 tells each at once.",
    )
    backlog: Bytes = Field(
        1024 * 1024,
        validate_default=True,
        description="Lines kept while standard output takes none, about two thousand requests: a collector's restart. "
        "Past it they are dropped and counted.",
    )
    flush_timeout: Seconds = Field(
        1.0, description="At the end of the process the lines that still wait have so long to go out."
    )
    log_addresses: bool = Field(False, description="Whether request lines name the client's address.")
