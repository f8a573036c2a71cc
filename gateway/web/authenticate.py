"""Who asks: a key, or a browser's origin.

- A key comes as ``Authorization: Bearer`` or ``x-api-key``; two different ones are an error. Other schemes of
  ``Authorization`` are a proxy's business and are passed over.
- Only the chat route attributes browsers without a key to a tenant, by their origin.
- Failures are throttled per address before the key is looked at, unless the key is known to be good already.
- Who was let in is asked about once more when the call to Claude starts: reading a body takes time.
"""

from __future__ import annotations

import time

from aiohttp import web

from gateway.core.addresses import bucket
from gateway.core.errors import InvalidRequest, Unauthenticated
from gateway.core.principal import Principal
from gateway.core.quota.grants import active
from gateway.web.record import Record
from gateway.web.services import Services

_MISSING = "An API key is required: send it as Authorization: Bearer <key> or x-api-key: <key>."


def credential_of(request: web.Request) -> str | None:
    """Return the key that a request brings, None without one.

    Raises:
        InvalidRequest: It brings two different ones.
    """
    headers = request.headers
    found = ""
    for value in [*headers.getall("x-api-key", ()), *map(_bearer, headers.getall("Authorization", ()))]:
        key = value.strip()
        if found and key and key != found:
            raise InvalidRequest(
                "Two different API keys were sent. Send one, as Authorization: Bearer or as x-api-key."
            )
        found = key or found
    return found or None


def _bearer(authorization: str) -> str:
    scheme, _, rest = authorization.strip().partition(" ")
    return rest if scheme.lower() == "bearer" else ""


async def authenticate(request: web.Request, record: Record, services: Services, *, anonymous: bool) -> Principal:
    """Return the caller.

    Args:
        request: The request.
        record: Has the client's address.
        services: The directory, the throttle and the origins.
        anonymous: Whether the route takes browsers without a key.

    Raises:
        Unauthenticated: Neither a valid key nor a mapped origin.
        TooManyFailures: The address failed too often.
        TenantSuspended: The operator suspended the tenant.
    """
    credential = credential_of(request)
    if credential is not None:
        return await _by_key(credential, record, services)
    if anonymous:
        headers = request.headers
        mapping = services.origins.mapping(headers.get("Origin"), headers.get("Sec-Fetch-Site"), headers.get("Host"))
        if mapping is not None:
            tenant = services.directory.anonymous_tenant(mapping.tenant)
            return Principal(tenant.name, None, mapping.plan, None, bucket(record.address))
    raise Unauthenticated(_MISSING)


async def confirm(request: web.Request, record: Record, principal: Principal, services: Services) -> None:
    """Return when the caller is still let in as of now, with nothing awaited since.

    A suspension that came after ``authenticate`` cut the requests that it found, and this one was not there yet: ask
    again, and add it to the running ones without an await in between.

    Raises:
        Unauthenticated: The key has ended meanwhile.
        TenantSuspended: The tenant was suspended meanwhile.
    """
    directory, key = services.directory, record.key
    if key is None:
        directory.anonymous_tenant(principal.tenant)
    elif not directory.stands(key, time.time()):  # changed, or only forgotten
        credential = credential_of(request) or ""
        while directory.cached(credential, time.time()) is None:
            await directory.authenticate(credential, time.time())


async def _by_key(credential: str, record: Record, services: Services) -> Principal:
    directory, now, address = services.directory, time.time(), bucket(record.address)
    known = directory.cached(credential, now)
    if known is None:
        services.throttle.check(address, time.monotonic())
        try:
            known = await directory.authenticate(credential, now)
        except Unauthenticated:
            services.throttle.failed(address, time.monotonic())
            raise
    record.key = known
    grants = active(known.grants, now) if known.grants else ()
    return Principal(known.tenant, known.key_id, known.tenant_plan, known.key_plan, address, grants=grants)
