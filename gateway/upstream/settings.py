"""``[[upstreams]]`` and ``[upstream]``: where Claude is, and how long we wait for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from gateway.core.units import Bytes, Confidential, Seconds

# The value of https_proxy and http_proxy that wins over the environment's.
OFF = "off"


def _with_scheme(text: str | None) -> str | None:
    """Write out what ``proxy:3128`` means; whether it can be used is asked when an upstream needs it."""
    text = (text or "").strip()
    return (text if text == OFF or "://" in text else f"http://{text}") if text else None


ProxyUrl = Annotated[str | None, AfterValidator(_with_scheme), Confidential()]


class UpstreamSettings(BaseModel):
    """One address of Claude with its credential. Which keys belong to which kind: ``gateway.config.kinds``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("claude", min_length=1, max_length=40, description="Its name in logs and metrics.")
    kind: Literal["anthropic", "bedrock", "vertex"] = Field(
        "anthropic",
        description="Protocol: Claude's own API or one compatible with it, Amazon Bedrock, or Google's Vertex AI. The "
        "clouds need an extra: pip install 'tokenweir[bedrock]' or 'tokenweir[vertex]'.",
    )
    base_url: HttpUrl = Field(
        HttpUrl("https://api.anthropic.com"), description="Without /v1. Of a cloud the region's own, unless set."
    )
    api_key: SecretStr = Field(
        SecretStr(""),
        description="Sent as x-api-key. ANTHROPIC_API_KEY makes the first upstream. Kind bedrock: a Bedrock API key.",
    )
    api_key_file: str | None = Field(
        None, examples=["/run/secrets/anthropic_api_key"], description="File that holds the key, instead of api_key."
    )
    pretend: bool = Field(
        False, description="It is the pretend Claude (`tokenweir simulate`): /streaming-demo then has controls for it."
    )
    region: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        examples=["us-east-1"],
        description="Needed for the clouds: us-east-1, us-east5, and for Vertex AI also global, us and eu.",
    )
    project: str | None = Field(
        None,
        pattern=r"^[a-z0-9.:-]+$",
        examples=["my-project"],
        description="Needed for kind vertex: the Google Cloud project.",
    )
    access_key: SecretStr | None = Field(
        None,
        examples=["AKIA…"],
        description="Kind bedrock: AWS access key id. Without it, and without api_key, AWS's own chain is asked: "
        "variables, profile, container, instance.",
    )
    access_key_file: str | None = Field(
        None, examples=["/run/secrets/aws_access_key"], description="File that holds access_key."
    )
    secret_key: SecretStr | None = Field(None, examples=["…"], description="The secret that belongs to access_key.")
    secret_key_file: str | None = Field(
        None, examples=["/run/secrets/aws_secret_key"], description="File that holds secret_key."
    )
    session_token: SecretStr | None = Field(
        None, examples=["…"], description="The token that belongs to a temporary access_key."
    )
    session_token_file: str | None = Field(
        None, examples=["/run/secrets/aws_session_token"], description="File that holds session_token."
    )
    access_token: SecretStr | None = Field(
        None,
        examples=["ya29.…"],
        description="Kind vertex: an OAuth access token, which Google lets live for an hour. Without it the "
        "application-default credentials are used, and renewed.",
    )
    access_token_file: str | None = Field(
        None, examples=["/run/secrets/google_access_token"], description="File that holds access_token."
    )
    models: dict[str, str] = Field(
        default_factory=dict,
        examples=[{"claude-sonnet-4-5": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"}],
        description="Clouds: their name of a model, by the name that clients use; also as [upstreams.models]. A name "
        "that is not here is sent as it is.",
    )

    def model_post_init(self, _context: object, /) -> None:
        """Fill in the cloud's address, which follows from its region."""
        if "base_url" not in self.model_fields_set and (address := _address_of(self.kind, self.region)) is not None:
            # The model is frozen for everyone else; here it is still being made.
            self.__dict__["base_url"] = HttpUrl(address)


# Where Vertex AI is in several regions at once; as in Claude's SDK.
_MULTI_REGION = {
    "global": "https://aiplatform.googleapis.com/v1",
    "us": "https://aiplatform.us.rep.googleapis.com/v1",
    "eu": "https://aiplatform.eu.rep.googleapis.com/v1",
}


def _address_of(kind: str, region: str | None) -> str | None:
    if region is None or kind == "anthropic":
        return None
    if kind == "bedrock":
        return f"https://bedrock-runtime.{region}.amazonaws.com"
    return _MULTI_REGION.get(region, f"https://{region}-aiplatform.googleapis.com/v1")


class TransportSettings(BaseModel):
    """Connections and deadlines, the same for every upstream."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect_timeout: Seconds = Field(5.0, description="TCP and TLS. Claude's SDK uses 5 s as well.")
    first_event_timeout: Seconds = Field(
        120.0,
        description="Request sent to a stream's first event; pings and comments are none. It comes when the prompt has "
        "been read, which takes tens of seconds for long ones. To the headers of what is no stream, except a whole "
        "message: they come when it is complete, so it may take until the total deadline.",
    )
    chat_first_event_timeout: Seconds = Field(
        25.0,
        description="The same on the chat route where there are several upstreams; one alone is waited for until "
        "chat_timeout. Claude sends message_start before it thinks, so this is long for the prompts of a chat, and two "
        "upstreams that hang fit into chat_timeout.",
    )
    idle_timeout: Seconds = Field(
        120.0,
        description="Longest gap between two whole events of a stream; what came of an unfinished one does not count, "
        "pings do, which Claude sends into long silences every 15 s or so. The body of what is no stream, as a whole.",
    )
    stop_grace: Seconds = Field(
        1.0,
        description="Longest wait for a stream's end after message_stop; Claude ends it at once, some proxies do not.",
    )
    total_timeout: Seconds = Field(600.0, description="Whole answer on Claude's own routes, as in Claude's SDK.")
    chat_timeout: Seconds = Field(60.0, description="Whole answer on the chat route, whose clients give up after 60 s.")
    max_connections: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Connections to one upstream at a time; a stream holds one."
    )
    pool_timeout: Seconds = Field(5.0, description="Longest wait for a free connection; past it 503.")
    keepalive: Annotated[int, Field(ge=0)] = Field(
        256, description="Idle connections kept for reuse: as many streams may end at a time and begin again."
    )
    keepalive_timeout: Seconds = Field(
        30.0,
        description="Idle time after which one is closed, but for the warm ones; Claude's edge keeps longer.",
    )
    warm_connections: Annotated[int, Field(ge=0)] = Field(
        2,
        description="Idle connections kept open to each upstream, so that requests do not wait for TCP and TLS; they "
        "stay until the upstream closes them.",
    )
    dns_refresh: Seconds = Field(
        30.0, description="How long an upstream's addresses are used before DNS is asked again; the system keeps none."
    )
    https_proxy: ProxyUrl = Field(
        None,
        repr=False,
        examples=["http://user:password@proxy.example:3128"],
        description="Proxy for https upstreams, asked for a tunnel (CONNECT); off for none. HTTPS_PROXY sets it, too.",
    )
    http_proxy: ProxyUrl = Field(
        None,
        repr=False,
        examples=["http://proxy.example:3128"],
        description="The same for http upstreams. HTTP_PROXY sets it, too.",
    )
    no_proxy: tuple[str, ...] = Field(
        (),
        examples=[[".internal.example", "10.0.0.0/8"]],
        description="Upstreams that are reached without a proxy, as loopback always is: names with what is below them, "
        "addresses, networks, each with :port or without; * for all. NO_PROXY sets it, too.",
    )
    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        2,
        description="Further attempts before the first event, each after a wait. With several upstreams, further "
        "rounds through all of them: from one to the next there is no wait.",
    )
    retry_budget: Seconds = Field(
        20.0,
        description="No retry starts later than this after the first attempt; longer waits are the client's. An "
        "upstream that was not asked yet is asked later, too.",
    )
    breaker_failures: Annotated[int, Field(ge=0)] = Field(
        20,
        description="Requests in a row to which an upstream gave no answer (no connection, silence, 5xx, nonsense) "
        "after which it is not asked for a while; 0 to ask always. While half of all fail, that is once in a million.",
    )
    breaker_error_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="The same after more than this share of failures within breaker_window; 0 to count only those in "
        "a row. Below half, asking again helps more often than not.",
    )
    breaker_window: Seconds = Field(
        30.0, description="What the share is taken over: short enough to forget a fault that is over."
    )
    breaker_min_calls: Annotated[int, Field(ge=1)] = Field(
        100, description="Fewest calls within the window that have a share: two failures out of three say little."
    )
    breaker_cooldown: Seconds = Field(
        5.0,
        description="Time for which a failing upstream is not asked; then one request at a time tries. Doubled while "
        "they fail.",
    )
    breaker_max_cooldown: Seconds = Field(
        60.0, description="Most of that time: an upstream that has come back is found within a minute."
    )
    max_throttle: Seconds = Field(
        60.0,
        description="Longest time for which an upstream that says that a rate limit is reached is asked after the "
        "others; Claude's limits are per minute. 0 to ask all the same.",
    )
    max_event: Bytes = Field(
        16 * 1024 * 1024,
        validate_default=True,
        description="Largest single event. Claude's largest blocks (documents) stay below 10 MiB.",
    )
    max_stream: Bytes = Field(
        128 * 1024 * 1024,
        validate_default=True,
        description="Longest stream. Claude's longest answers, 128,000 tokens one by one, stay below 20 MiB.",
    )
    max_answer: Bytes = Field(
        64 * 1024 * 1024, validate_default=True, description="Largest non-streaming answer, held in memory as a whole."
    )
    max_headers: Bytes = Field(
        64 * 1024, validate_default=True, description="Largest head of an answer; Claude's is below 2 KiB."
    )
    max_refusal: Bytes = Field(
        1024 * 1024,
        validate_default=True,
        description="Most that is read of an error's body: Claude's have a few hundred bytes, proxies' pages more.",
    )
    read_ahead: Bytes = Field(
        256 * 1024,
        validate_default=True,
        description="Bytes of an answer kept until it is known where they go; past it the connection is not read.",
    )
    receive_buffer: Bytes = Field(
        256 * 1024, validate_default=True, description="Kernel receive buffer of a connection (Linux doubles it)."
    )
    ca_file: str | None = Field(
        None,
        examples=["/etc/ssl/corporate-ca.pem"],
        description="PEM bundle to verify the upstream with, instead of the system's.",
    )
