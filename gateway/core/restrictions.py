"""Whether a plan allows what a request asks for. Several plans restrict together: each must allow it."""

from __future__ import annotations

from fnmatch import fnmatchcase

from gateway.core.call import Restrictions
from gateway.core.errors import Forbidden, InvalidRequest, ModelNotAllowed
from gateway.core.plans import Plan


def restrictions_of(*plans: Plan) -> Restrictions:
    """Join what several plans restrict."""
    caps = [plan.max_output_tokens for plan in plans if plan.max_output_tokens is not None]
    return Restrictions(
        models=tuple(plan.models for plan in plans if plan.models is not None),
        betas=tuple(plan.betas for plan in plans if plan.betas is not None),
        max_output_tokens=min(caps, default=None),
        account_resources=all(plan.account_resources for plan in plans),
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
