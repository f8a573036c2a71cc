"""``GET /api/quota``: what whoever holds a key has used, holds, and has left."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from gateway.core.dialects.chat_request import LONGEST_USER_ID
from gateway.core.errors import InvalidRequest
from gateway.core.quota.told import as_json
from gateway.web.authenticate import authenticate
from gateway.web.record import RECORD
from gateway.web.services import SERVICES
from gateway.web.taking import look


async def quota(request: web.Request) -> web.StreamResponse:
    """Answer with every limit that a request of the caller would meet; it counts against none.

    Raises:
        InvalidRequest: The user's id is longer than the chat route takes.
        Unauthenticated: Neither a valid key nor a mapped origin.
        TooManyFailures: The address failed too often.
        TenantSuspended: The operator suspended the tenant.
    """
    services, record = request.app[SERVICES], request[RECORD]
    principal = await authenticate(request, record, services, anonymous=True)
    user = request.query.get("userId")
    if user and len(user) > LONGEST_USER_ID:
        raise InvalidRequest(f"userId: at most {LONGEST_USER_ID} characters, not {len(user)}")
    if user:
        principal = replace(principal, end_user=services.pseudonym(user))
    record.principal = principal
    await look(services, record, services.entitlements.of(principal).limits)
    body = {"tenant": principal.tenant, "keyId": principal.key_id, "limits": [as_json(state) for state in record.states]}
    return web.json_response(body, headers={"Cache-Control": "no-store"})
