"""Which keys of ``[[upstreams]]`` belong to which kind of upstream, and what a kind needs to work."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping

from pydantic import SecretStr

from gateway.upstream.settings import UpstreamSettings

_KEYS_OF_KIND: Mapping[str, frozenset[str]] = {
    "anthropic": frozenset({"api_key"}),
    "bedrock": frozenset({"api_key", "region", "access_key", "secret_key", "session_token", "models"}),
    "vertex": frozenset({"region", "project", "access_token", "models"}),
}
_NEEDED: Mapping[str, Mapping[str, str]] = {
    "anthropic": {},
    "bedrock": {"region": "us-east-1"},
    "vertex": {"region": "us-east5", "project": "my-project"},
}
_MODULES_OF_EXTRA: Mapping[str, tuple[str, ...]] = {
    "anthropic": (),
    "bedrock": ("boto3", "botocore"),
    "vertex": ("google.auth", "requests"),
}


def misfits(upstream: UpstreamSettings) -> Iterator[tuple[str, str]]:
    """Yield the key and the complaint of everything that does not fit together within one upstream."""
    kind = upstream.kind
    for key in sorted(frozenset().union(*_KEYS_OF_KIND.values()) - _KEYS_OF_KIND[kind]):
        if _is_set(upstream, key):
            kinds = " and ".join(name for name, keys in _KEYS_OF_KIND.items() if key in keys)
            yield key, f"this key is for kind {kinds}, and the upstream is of kind {kind}"
    for key, example in _NEEDED[kind].items():
        if not _is_set(upstream, key):
            yield "kind", f'needs the key {key} as well, as in {key} = "{example}"'
    if kind == "bedrock":
        yield from _aws_credentials(upstream)


def _aws_credentials(upstream: UpstreamSettings) -> Iterator[tuple[str, str]]:
    access, secret, token, key = (
        _is_set(upstream, name) for name in ("access_key", "secret_key", "session_token", "api_key")
    )
    if access != secret:
        there, lacking = ("access_key", "secret_key") if access else ("secret_key", "access_key")
        yield there, f"needs {lacking} as well"
    elif token and not access:
        yield "session_token", "needs access_key and secret_key as well"
    if key and (access or secret or token):
        yield "api_key", "there is an AWS credential as well (access_key); keep one of the two"


def missing_extra(upstream: UpstreamSettings) -> str | None:
    """Return what to install for this upstream; None when all is there."""
    if all(_is_there(module) for module in _MODULES_OF_EXTRA[upstream.kind]):
        return None
    return (
        f"upstream {upstream.name} is of kind {upstream.kind}, for which an extra is not installed: "
        f"pip install 'tokenweir[{upstream.kind}]'."
    )


def _is_there(module: str) -> bool:
    """Say whether a module could be imported, without importing it: some of them are large."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of what it is in
        return False


def _is_set(upstream: UpstreamSettings, key: str) -> bool:
    value = getattr(upstream, key)
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)
