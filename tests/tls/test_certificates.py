"""Which certificates a gateway takes, and what it says of the others."""

from __future__ import annotations

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gateway.web.settings import ServerSettings
from gateway.web.tls import BadCertificate, server_tls


def test_without_a_certificate_there_is_no_tls():
    assert server_tls(ServerSettings()) is None


def test_the_key_may_be_in_the_same_file(authority, tmp_path):
    path = tmp_path / "both.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    assert server_tls(ServerSettings(tls_certificate=str(path))) is not None


def test_the_key_of_another_certificate_is_told_apart(certificate, tmp_path):
    settings = certificate()
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "key.pem")
    with pytest.raises(BadCertificate, match="tls_key: it is the key of another certificate"):
        server_tls(ServerSettings(**settings))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(certificate, tmp_path):
    settings, path = certificate(), tmp_path / "key.pem"
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    with pytest.raises(BadCertificate, match="without a password"):
        server_tls(ServerSettings(**settings))
