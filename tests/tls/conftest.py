"""The tests here run on uvloop, which the gateway is served on: its TLS is another than asyncio's."""

from __future__ import annotations

import pytest
import uvloop


def pytest_asyncio_loop_factories(config, item):
    """Return the loop, by its name in a test's id."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def certificate(authority, tmp_path):
    """Return the settings of a server that has a certificate for localhost; a second call makes another."""

    def certificate() -> dict[str, str]:
        issued = authority.issue_cert("localhost", "127.0.0.1")
        chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
        issued.cert_chain_pems[0].write_to_path(chain)
        issued.private_key_pem.write_to_path(key)
        return {"tls_certificate": str(chain), "tls_key": str(key)}

    return certificate
