"""Every error that a caller can meet, in one tree.

Each class fixes a stable ``code``, an HTTP ``status``, whether a later retry can help, whose fault it is (``origin``)
and the ``claude_type`` that names it in Claude's own error shape. The message is a sentence for a person and never
holds a credential, a prompt, or an upstream's internals.

    GatewayError
    ├── ClientError                      origin = client
    │   ├── InvalidRequest               400 invalid_request
    │   │   └── ThreadsNotOffered        400 thread_unsupported_request
    │   ├── MessageRequired              400 message_required
    │   ├── Unauthenticated              401 unauthenticated
    │   ├── Forbidden                    403 forbidden
    │   │   ├── OriginNotAllowed         403 origin_not_allowed
    │   │   ├── TenantSuspended          403 tenant_suspended
    │   │   └── ModelNotAllowed          403 model_not_allowed
    │   ├── NotFound                     404 not_found
    │   ├── MethodNotAllowed             405 method_not_allowed
    │   ├── RequestTimeout               408 request_timeout
    │   ├── BodyTooLarge                 413 request_too_large
    │   ├── QueryTooLong                 414 query_too_long
    │   ├── HeaderTooLarge               431 header_too_large
    │   ├── UnsupportedMediaType         415 unsupported_media_type
    │   ├── RateLimited                  429 rate_limited
    │   └── TooManyFailures              429 too_many_failed_authentications
    ├── GatewayFault                     500 internal_error        origin = gateway
    │   ├── Overloaded                   503 overloaded
    │   ├── Draining                     503 draining
    │   ├── StoreUnavailable             503 store_unavailable
    │   ├── StreamTooLong                504 deadline_exceeded
    │   ├── SlowClient                   408 slow_client
    │   └── AccessCut                    403 access_cut
    └── UpstreamError                    502 upstream_error        origin = upstream
        ├── UpstreamRefused              Claude's own status       upstream_<claude type>
        ├── UpstreamCredential           502 upstream_credential
        ├── UpstreamUnreachable          502 upstream_unreachable
        ├── UpstreamUnavailable          503 upstream_unavailable
        ├── UpstreamTimeout              504 upstream_timeout
        ├── UpstreamTruncated            502 upstream_truncated
        └── UpstreamMalformed            502 upstream_malformed
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

# A sentence that quotes what a caller sent is not as long as what it sent.
_LONGEST = 1_000

Origin = Literal["client", "gateway", "upstream"]


class GatewayError(Exception):
    """Base of all; raised nowhere itself.

    Args:
        message: A sentence for the person at the other end.
        retry_after: Seconds after which a retry may succeed, where that is known.
        detail: What only the operator's log is told.
    """

    code: str = "error"
    status: int = 500
    origin: ClassVar[Origin] = "gateway"
    retryable: bool = False
    claude_type: str = "api_error"

    def __init__(self, message: str, *, retry_after: float | None = None, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."
        self.retry_after = retry_after
        self.detail = detail

    @property
    def retry_seconds(self) -> int | None:
        """``retry_after`` as headers tell it: whole seconds, never too early, at least one."""
        return None if self.retry_after is None else max(1, math.ceil(self.retry_after))


class ClientError(GatewayError):
    """The request is at fault; sending it again unchanged does not help."""

    origin: ClassVar[Origin] = "client"
    status = 400
    code = "invalid_request"
    claude_type = "invalid_request_error"


class InvalidRequest(ClientError):
    """A field is wrong; the message names it and what is allowed."""


class ThreadsNotOffered(InvalidRequest):
    """Conversations kept at Claude are the operator's account's; clients that know Claude's code go on without."""

    code = "thread_unsupported_request"


class MessageRequired(ClientError):
    """The chat route was called without a message; its wording is part of the existing frontends' contract."""

    code = "message_required"

    def __init__(self) -> None:
        super().__init__("Message is required")


class Unauthenticated(ClientError):
    """No credential, or one that is not valid. Never says which: the answer must not tell whether a key exists."""

    status = 401
    code = "unauthenticated"
    claude_type = "authentication_error"


class Forbidden(ClientError):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"
    claude_type = "permission_error"


class OriginNotAllowed(Forbidden):
    """A browser's origin is not on the list."""

    code = "origin_not_allowed"


class TenantSuspended(Forbidden):
    """The tenant was suspended by the operator."""

    code = "tenant_suspended"


class ModelNotAllowed(Forbidden):
    """The caller's plan does not include the model."""

    code = "model_not_allowed"


class NotFound(ClientError):
    """No such route."""

    status = 404
    code = "not_found"
    claude_type = "not_found_error"


class MethodNotAllowed(ClientError):
    """The route exists, with other methods.

    Args:
        method: What was asked for.
        allowed: What the route takes.
    """

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"This route takes {self.allowed}, not {method[:20]}.")


class RequestTimeout(ClientError):
    """The request's body did not arrive in time."""

    status = 408
    code = "request_timeout"
    retryable = True


class BodyTooLarge(ClientError):
    """The body is over ``[server] max_body``."""

    status = 413
    code = "request_too_large"
    claude_type = "request_too_large"


class QueryTooLong(ClientError):
    """The query string, or the message in it, is over its limit."""

    status = 414
    code = "query_too_long"
    claude_type = "request_too_large"


class HeaderTooLarge(ClientError):
    """A header line is over ``[server] max_header``."""

    status = 431
    code = "header_too_large"
    claude_type = "request_too_large"


class UnsupportedMediaType(ClientError):
    """The body is in an encoding or of a type that the route does not take."""

    status = 415
    code = "unsupported_media_type"


class RateLimited(ClientError):
    """A limit refused the request.

    Args:
        message: A sentence that names the limit.
        limit: The limit's name, as in the ``RateLimit`` header: ``tenant-requests-per-minute``.
        retry_after: Seconds until the limit admits again; None when waiting alone does not help.
        retryable: Whether a client should try again by itself; not where it would have to wait for another day.
    """

    status = 429
    code = "rate_limited"
    claude_type = "rate_limit_error"
    retryable = True

    def __init__(self, message: str, *, limit: str, retry_after: float | None, retryable: bool | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit = limit
        self.retryable = retry_after is not None if retryable is None else retryable


class TooManyFailures(ClientError):
    """Too many failed authentications from one address."""

    status = 429
    code = "too_many_failed_authentications"
    claude_type = "rate_limit_error"
    retryable = True


class GatewayFault(GatewayError):
    """Our own fault, or the state that the gateway is in."""

    code = "internal_error"


class Overloaded(GatewayFault):
    """A bound on the gateway's own resources was reached.

    Args:
        message: A sentence for the person at the other end.
        retry_after: Seconds after which there may be room again.
        limit: The bound by its key in the configuration (``server.max_streams``), for the operator's log and metrics.
    """

    status = 503
    code = "overloaded"
    retryable = True
    claude_type = "overloaded_error"

    def __init__(self, message: str, *, retry_after: float | None = None, limit: str | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit = limit


class Draining(GatewayFault):
    """The process is stopping; another one, or the next, can answer."""

    status = 503
    code = "draining"
    retryable = True
    claude_type = "overloaded_error"


class StoreUnavailable(GatewayFault):
    """Keys or limits cannot be read now, and guessing would be wrong."""

    status = 503
    code = "store_unavailable"
    retryable = True


class StreamTooLong(GatewayFault):
    """The stream reached a deadline or a size that the operator set."""

    status = 504
    code = "deadline_exceeded"
    retryable = True
    claude_type = "timeout_error"


class SlowClient(GatewayFault):
    """The client took no bytes for ``[server] slow_client_timeout``; it is dropped."""

    status = 408
    code = "slow_client"


class AccessCut(GatewayFault):
    """The operator cut the tenant's running streams."""

    status = 403
    code = "access_cut"
    claude_type = "permission_error"


class UpstreamError(GatewayError):
    """Claude, or the way to it, failed."""

    origin: ClassVar[Origin] = "upstream"
    status = 502
    code = "upstream_error"
    retryable = True


class UpstreamRefused(UpstreamError):
    """Claude answered with an error of its own about this request.

    Args:
        message: Claude's message, as it came.
        status: Claude's HTTP status.
        claude_type: Claude's error type, one of the known ones: the code is made of it.
        retryable: Whether a later retry can help.
        retry_after: Seconds, where Claude said so.

    Attributes:
        body: Claude's answer as it came, when it is in Claude's shape; for routes that relay verbatim.
        headers: What a client sees of the headers of Claude's answer; for the same routes.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        claude_type: str,
        retryable: bool,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.body: bytes | None = None
        self.headers: Mapping[str, str] = {}
        self.status = status
        self.claude_type = claude_type
        self.retryable = retryable
        self.code = f"upstream_{claude_type}"


class UpstreamCredential(UpstreamError):
    """Claude refused *our* credential: the operator's concern, told to the caller without a detail."""

    code = "upstream_credential"
    retryable = False


class UpstreamUnreachable(UpstreamError):
    """No connection to Claude could be made, or it broke before an answer."""

    code = "upstream_unreachable"


class UpstreamUnavailable(UpstreamError):
    """Claude failed so often that it is not asked for a while; neither is any other upstream."""

    status = 503
    code = "upstream_unavailable"
    claude_type = "overloaded_error"


class UpstreamTimeout(UpstreamError):
    """Claude did not answer, or went silent, for longer than the operator allows."""

    status = 504
    code = "upstream_timeout"
    claude_type = "timeout_error"


class UpstreamTruncated(UpstreamError):
    """The stream from Claude ended before its end."""

    code = "upstream_truncated"


class UpstreamMalformed(UpstreamError):
    """What came from Claude is not what its protocol says, or is over a limit."""

    code = "upstream_malformed"


def forget_way(error: BaseException | None) -> None:
    """Forget which frames an error came through, and those of what caused it.

    Whoever keeps an error keeps the frames of its traceback with it, and whatever these hold: of a request everything.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
