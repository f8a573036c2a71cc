"""Write the OpenAPI documents, ``docs/openapi.json`` and ``docs/openapi-ops.json``, as the gateway serves them.

``python tools/gen_openapi.py`` writes, ``--check`` only says what is stale, and fails if anything is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script from anywhere, installed or not

from gateway.web.openapi import public_document  # noqa: E402 - found through the line above
from gateway.web.openapi_ops import ops_document  # noqa: E402 - as above

DOCS = ROOT / "docs"


def files() -> dict[Path, str]:
    """Return every file as it should be."""
    return {DOCS / "openapi.json": _text(public_document()), DOCS / "openapi-ops.json": _text(ops_document())}


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or say which are stale."""
    status = 0
    for path, text in files().items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            sys.stderr.write(f"{path.name} is stale: run python tools/gen_openapi.py\n")
            status = 1
        else:
            path.write_text(text, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
