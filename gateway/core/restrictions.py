"""Whether a plan allows what a request asks for. Several plans restrict together: each must allow it.

- A model is named in ``model``, but also by ``fallbacks`` and by advisor tools: all of them must be allowed.
- The operator's whole account can be reached by ``file_id``, ``container`` and ``thread``. What a tool is called with
  is text to Claude, whatever its keys are.
- Claude's SDKs ask for a thread unasked (their tool runners do) and take back what Claude cannot thread: a thread is
  refused in those words, and they send the whole conversation instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from gateway.core.call import Restrictions
from gateway.core.errors import Forbidden, InvalidRequest, ModelNotAllowed, ThreadsNotOffered
from gateway.core.plans import Plan


def restrictions_of(*plans: Plan) -> Restrictions:
    """Join what several plans restrict."""
    caps = [plan.max_output_tokens for plan in plans if plan.max_output_tokens is not None]
    return Restrictions(
        models=tuple(plan.models for plan in plans if plan.models is not None),
        betas=tuple(plan.betas for plan in plans if plan.betas is not None),
        max_output_tokens=min(caps, default=None),
        account_resources=all(plan.account_resources for plan in plans),
        unbounded=all(plan.allow_unbounded for plan in plans),
    )


def _allowed(name: str, lists: tuple[tuple[str, ...], ...]) -> bool:
    return all(any(fnmatchcase(name, pattern) for pattern in patterns) for patterns in lists)


def _names(lists: tuple[tuple[str, ...], ...]) -> str:
    return " and ".join(", ".join(patterns) or "none" for patterns in lists)


def check_model(model: str, allowed: Restrictions) -> None:
    """Raise ModelNotAllowed unless every plan allows the model."""
    if not _allowed(model, allowed.models):
        raise ModelNotAllowed(f"Your plan does not include the model {model!r}. Allowed: {_names(allowed.models)}.")


def check_betas(header: str, allowed: Restrictions) -> None:
    """Raise Forbidden unless every plan allows each value of ``anthropic-beta``."""
    for beta in (part.strip() for part in header.split(",")):
        if beta and not _allowed(beta, allowed.betas):
            raise Forbidden(f"Your plan does not include the beta {beta!r}. Allowed: {_names(allowed.betas)}.")


def check_max_tokens(max_tokens: int, allowed: Restrictions) -> None:
    """Raise InvalidRequest when ``max_tokens`` is over the plan's ``max_output_tokens``: waiting would not help."""
    cap = allowed.max_output_tokens
    if cap is not None and max_tokens > cap:
        raise InvalidRequest(f"max_tokens: {max_tokens} is over your plan's max_output_tokens of {cap}.")


def check_other_models(fields: Mapping[str, Any], allowed: Restrictions) -> None:
    """Check what a request names beside ``model`` and ``max_tokens``: its fallbacks and advisors.

    Raises:
        ModelNotAllowed: One of the models is not in the plan, or Claude would choose it.
        InvalidRequest: A fallback's ``max_tokens`` is over the plan's, or not an integer.
    """
    fallbacks = fields.get("fallbacks")
    if isinstance(fallbacks, str) and allowed.models:
        raise ModelNotAllowed(f"fallbacks: name the models; your plan allows {_names(allowed.models)}.")
    for entry in _objects(fallbacks):
        _check_named(entry, allowed)
        max_tokens = entry.get("max_tokens")
        if max_tokens is not None:
            check_max_tokens(whole_number(max_tokens, "fallbacks.max_tokens"), allowed)
    for tool in _objects(fields.get("tools")):
        _check_named(tool, allowed)


def whole_number(value: object, name: str) -> int:
    """Return an integer; what Claude might take for one, such as ``"1000"`` or ``1e3``, would slip past a limit.

    Raises:
        InvalidRequest: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{name}: Input should be a valid integer")
    return value


def check_account_resources(fields: Mapping[str, Any], allowed: Restrictions) -> None:
    """Check that a request names nothing that is the operator's whole account's, unless the plan allows it.

    Raises:
        Forbidden: It names a container or a file.
        ThreadsNotOffered: It begins or continues a thread.
    """
    if allowed.account_resources:
        return
    if fields.get("container") is not None:
        raise _account("container")
    if fields.get("thread") is not None:
        raise ThreadsNotOffered(
            "thread: not offered by your plan (account_resources). Send the whole conversation without it."
        )
    pending: list[Any] = [fields.get("messages"), fields.get("system")]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            if "file_id" in node:
                raise _account("file_id")
            kind = node.get("type")
            called = isinstance(kind, str) and kind.endswith("tool_use")
            pending.extend(value for key, value in node.items() if not (called and key == "input"))


def _account(what: str) -> Forbidden:
    return Forbidden(f"{what}: your plan does not allow resources of the account (account_resources).")


def _check_named(entry: Mapping[str, Any], allowed: Restrictions) -> None:
    model = entry.get("model")
    if model is not None:
        check_model(str(model), allowed)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
