"""The form of a key, and how one is verified without being stored.

A key is ``tw_<id>_<secret>``, 54 characters of base62:

- ``id``: 12 characters (71 bits), public: it names the key in lists, logs and the audit.
- ``secret``: 32 random characters (190 bits) and a checksum of 6, the CRC-32 of everything before it. A typo is
  refused without a look-up, and a scanner of leaked secrets recognises a key with certainty.

The server stores ``HMAC-SHA-256(pepper, whole key)`` and the pepper's version. A slow password hash would buy nothing:
190 random bits cannot be guessed, and verification happens on the request path (3 µs, measured).
Nothing here raises on what a client sent.
"""

from __future__ import annotations

import hmac
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

PREFIX = "tw_"
ID_LENGTH = 12
SECRET_LENGTH = 38
KEY_LENGTH = len(PREFIX) + ID_LENGTH + 1 + SECRET_LENGTH
MIN_PEPPER = 16

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECKSUM_LENGTH = 6  # 62^6 > 2^32
_KEY = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH}}}")
_ID = re.compile(rf"[0-9A-Za-z]{{{ID_LENGTH}}}")
_PEPPER = re.compile(
    rf"(?:(0|[1-9]\d{{0,8}}):)?([!-+\--9;-~]{{{MIN_PEPPER},1024}})"
)  # printable, without comma and colon

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Key:
    """A well-formed key, genuine or not. Its text never shows in a repr, so it cannot slip into a log by accident."""

    id: str
    text: str = field(repr=False)


def new_key(random_bytes: RandomBytes) -> Key:
    """Make a key from a cryptographic source such as ``secrets.token_bytes``."""
    key_id = _random_text(random_bytes, ID_LENGTH)
    body = f"{PREFIX}{key_id}_{_random_text(random_bytes, SECRET_LENGTH - _CHECKSUM_LENGTH)}"
    return Key(key_id, body + _checksum(body))


def parse_key(text: str) -> Key | None:
    """Return the key in ``text``, or None if it has another form or its checksum is wrong; surrounding space counts."""
    if len(text) != KEY_LENGTH or (match := _KEY.fullmatch(text)) is None:
        return None
    if _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        return None
    return Key(match[1], text)


def key_id_in(text: str) -> str:
    """Return what is a key's id if ``text`` is a key."""
    return text[len(PREFIX) : len(PREFIX) + ID_LENGTH]


def is_key_id(text: str) -> bool:
    """Whether ``text`` has the form of a key's public id."""
    return _ID.fullmatch(text) is not None


def mask(text: str) -> str:
    """Return what of ``text`` may be shown: ``tw_<id>_…`` of a key, nothing of anything else."""
    match = _KEY.fullmatch(text[: KEY_LENGTH + 1])
    return f"{PREFIX}{match[1]}_…" if match else "…"


def hash_secret(pepper: bytes, key: Key) -> bytes:
    """Return what is stored instead of the key."""
    return hmac.digest(pepper, key.text.encode("ascii"), "sha256")


@dataclass(frozen=True, slots=True)
class Peppers:
    """The server's secrets that keys are hashed with, by version; the ``current`` one is used for new keys.

    To rotate: add a secret with a new version behind the old one; keys made from then on use it, and older ones move to
    it when they are used. When no live key is left under the old version it gets the version 0: no key is of that, but
    end users are known by the oldest secret, and stay who they are.
    """

    secrets: Mapping[int, bytes] = field(repr=False)
    current: int

    @classmethod
    def parse(cls, text: str) -> Peppers:
        """Read ``secret`` (version 1) or ``version:secret,version:secret``, whose last is the current one.

        Raises:
            ValueError: With a sentence that says what is allowed and repeats no secret.
        """
        matches = [_PEPPER.fullmatch(part.strip()) for part in text.strip().split(",")]
        found = [(match[1], match[2].encode("ascii")) for match in matches if match is not None]
        if len(found) != len(matches):
            raise ValueError(
                f"a pepper is one secret of at least {MIN_PEPPER} printable characters without comma and colon, "
                "or several as version:secret,version:secret"
            )
        if len(found) > 1 and not all(version for version, _ in found):
            raise ValueError("several peppers need a version each, as in 1:secret,2:secret")
        secrets = {int(version or 1): secret for version, secret in found}
        if len(secrets) < len(found):
            raise ValueError("two peppers have the same version")
        current = list(secrets)[-1]
        if current == 0:
            raise ValueError("the last pepper is the one for new keys, and version 0 is for end users alone")
        return cls(secrets, current)

    def hash(self, key: Key) -> bytes:
        """Return the hash of a new key, to be stored with ``current``."""
        return hash_secret(self.secrets[self.current], key)

    def verify(self, key: Key, version: int, digest: bytes) -> bool:
        """Whether ``key`` is the one that ``digest`` was made from. False if the pepper of ``version`` is gone."""
        pepper = self.secrets.get(version)
        return pepper is not None and hmac.compare_digest(hash_secret(pepper, key), digest)

    def fingerprint(self, version: int) -> bytes:
        """Return a value that tells one pepper from another and reveals neither; stored beside the keys."""
        return hmac.digest(self.secrets[version], b"tokenweir pepper fingerprint", "sha256")[:16]


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode("ascii")), _CHECKSUM_LENGTH)


def _random_text(random_bytes: RandomBytes, length: int) -> str:
    # 8 bytes more than the text can hold: the remainder's bias is below 2^-64.
    number = int.from_bytes(random_bytes(length * 6 // 8 + 9), "big")
    return _base62(number % 62**length, length)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
