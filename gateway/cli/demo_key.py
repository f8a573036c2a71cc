"""The key that ``tokenweir demo`` keeps ready: always the same one, in a file for its owner only."""

from __future__ import annotations

import os
import time
from pathlib import Path

from gateway.core.keys import Peppers, parse_key
from gateway.database.errors import Refused
from gateway.identity.store import Store

TENANT = "demo"
_FILE = "demo-key"


def ready_made_key(store: Store, peppers: Peppers, data_dir: Path) -> str:
    """Return the demo's key, made if there is none that still works.

    Raises:
        StoreError: The database or the key's file cannot be used.
    """
    path = data_dir / _FILE
    store.ensure_tenant(TENANT)
    try:
        kept = parse_key(path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError):
        kept = None
    if kept is not None and _works(store, peppers, kept.id, kept.text):
        return kept.text
    _, key = store.create_key(TENANT, peppers)
    _keep(path, key.text)
    return key.text


def _keep(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)  # one that somebody made with other rights keeps them otherwise
            file.write(text + "\n")
    except OSError as error:
        raise Refused(f"the demo's key cannot be kept in {path}: {error.strerror}") from error


def has_live_key(store: Store) -> bool:
    """Whether somebody could still come in with a key of the demo's."""
    demo = next((tenant for tenant in store.list_tenants() if tenant.name == TENANT), None)
    if demo is None or demo.suspended_at is not None:
        return False
    return any(not row.ended(time.time()) for row in store.list_keys(TENANT))


def _works(store: Store, peppers: Peppers, key_id: str, text: str) -> bool:
    key = parse_key(text)
    try:
        row = store.fetch_key(key_id)
    except Refused:
        return False
    return key is not None and not row.ended(time.time()) and peppers.verify(key, row.pepper_version, row.hash)
