"""Where the peppers come from: the configuration, or a file that is made at first use.

The file is for its owner only, appears whole or not at all, and is never overwritten: losing it makes every key void.
It holds what ``TOKENWEIR_KEY_PEPPER`` may hold, so its content can be moved there, and a second version added by hand.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gateway.core.keys import Peppers
from gateway.database.errors import Refused

FILE_NAME = "pepper"


def load_peppers(data_dir: Path, override: str | None) -> Peppers:
    """Return the configured peppers, else the file's, which is generated if it is missing.

    Raises:
        Refused: They are malformed, or the file cannot be read or made.
    """
    if override is not None:
        return _parse(override, "TOKENWEIR_KEY_PEPPER")
    path = data_dir / FILE_NAME
    try:
        return _parse(_read(path), f"the pepper in {path}")
    except OSError as error:
        raise Refused(f"the pepper file {path} cannot be used: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Refused(f"the pepper file {path} holds no text") from None


def _parse(text: str, source: str) -> Peppers:
    try:
        return Peppers.parse(text)
    except ValueError as error:
        raise Refused(f"{source} is not valid: {error}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        _generate(path)
        return path.read_text(encoding="ascii")


def _generate(path: Path) -> None:
    """Write a whole file aside, then link it: of several processes at the first start one wins, and all read its."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(32).encode("ascii") + b"\n")
        os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        os.close(descriptor)
        draft.unlink()
