"""Which browsers may read our answers, and which of them act for a tenant without a key.

- A mapping or ``[server] cors_origins`` lists exact origins, ``loopback`` (http and https on localhost, 127.0.0.0/8 and
  [::1], any port), ``same-origin`` (the page came from this gateway, whatever it is called) and ``*`` (anything).
- An ``Origin`` decides alone. It is same-origin when its host and port are those of ``Host``.
- Browsers send none with a same-origin GET: then ``Sec-Fetch-Site: same-origin`` vouches that the page has the origin
  of ``Host``, by http or https, and the lists decide on that. Without both only ``*`` matches.
- ``Origin: null`` (a sandboxed frame, a file) matches ``*`` and nothing else.
- The most specific entry wins: exact, same-origin, loopback, ``*``; of equal ones the first in the configuration.
- This is attribution and no proof: a program can send any header, and a page whose name was made to point here is of
  the same origin. Limits per address and per plan are what holds.

Everything is looked up in dictionaries made at start; what is not there costs one regular expression on at most 300
characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from gateway.core.units import parse_origin

_LOOPBACK = re.compile(r"https?://(?:localhost|127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}|\[::1\])(?::\d{1,5})?")
_KEYWORDS = frozenset({"loopback", "same-origin", "*"})
# A host's name has 253 characters at most.
_MAX_ORIGIN = 300


class OriginMapping(Protocol):
    """``[[anonymous]]`` of the configuration: the browsers of these origins act for a tenant under a plan."""

    @property
    def origins(self) -> tuple[str, ...]:
        """Exact origins in the form that browsers send, and keywords."""
        ...

    @property
    def tenant(self) -> str:
        """Name of the tenant."""
        ...

    @property
    def plan(self) -> str:
        """Name of the plan."""
        ...


class Origins:
    """The lists of the configuration, ready for lookup.

    Args:
        cors_origins: ``[server] cors_origins``: browsers that bring a key.
        mappings: ``[[anonymous]]``, in the order of the configuration.
    """

    def __init__(self, cors_origins: Iterable[str] = (), mappings: Iterable[OriginMapping] = ()) -> None:
        self._mapped: dict[str, OriginMapping] = {}
        for mapping in mappings:
            for origin in mapping.origins:
                self._mapped.setdefault(_normal(origin) or origin, mapping)
        self._readable = frozenset(self._mapped) | {_normal(origin) or origin for origin in cors_origins}

    def mapping(self, origin: str | None, fetch_site: str | None, host: str | None) -> OriginMapping | None:
        """Return whom a browser without a key acts for, None if for nobody.

        Args:
            origin: Its ``Origin``.
            fetch_site: Its ``Sec-Fetch-Site``.
            host: Its ``Host``.
        """
        if origin is not None:
            normal = _normal(origin)
            candidates = [normal] if normal else []
            same = normal is not None and host is not None and _normal(f"{_scheme(normal)}://{host}") == normal
        else:
            same = fetch_site == "same-origin" and host is not None
            candidates = [o for o in (_normal(f"https://{host}"), _normal(f"http://{host}")) if o] if same else []
        return self._most_specific(candidates, same=same)

    def _most_specific(self, candidates: list[str], *, same: bool) -> OriginMapping | None:
        mapped = self._mapped
        for candidate in candidates:
            if candidate in mapped:
                return mapped[candidate]
        if same and "same-origin" in mapped:
            return mapped["same-origin"]
        if "loopback" in mapped and any(map(_LOOPBACK.fullmatch, candidates)):
            return mapped["loopback"]
        return mapped.get("*")

    def cors_allowed(self, origin: str) -> bool:
        """Whether a browser may show our answers to pages of ``origin``."""
        if "*" in self._readable:
            return True
        normal = _normal(origin)
        if normal is None:
            return False
        return normal in self._readable or ("loopback" in self._readable and bool(_LOOPBACK.fullmatch(normal)))


def _normal(origin: str) -> str | None:
    """Return the one form of an origin; None for what is none: ``null``, a keyword, garbage."""
    if len(origin) > _MAX_ORIGIN:
        return None
    try:
        normal = parse_origin(origin)
    except ValueError:
        return None
    return None if normal in _KEYWORDS else normal


def _scheme(origin: str) -> str:
    return origin.partition(":")[0]
