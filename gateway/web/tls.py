"""TLS towards clients, where no proxy before the gateway speaks it: the operator's certificate, read anew by a reload."""

from __future__ import annotations

import ssl

from gateway.web.settings import ServerSettings


class BadCertificate(Exception):
    """TLS cannot be spoken with what is configured.

    Args:
        key: The setting at fault.
        reason: What is wrong with its value.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"server.{key}: {reason}")
        self.key = key
        self.reason = reason


def server_tls(settings: ServerSettings) -> ssl.SSLContext | None:
    """Return how to speak TLS with clients; None where they speak HTTP alone.

    Raises:
        BadCertificate: The certificate or its key cannot be used.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None:
        if key is not None:
            raise BadCertificate("tls_key", "there is no certificate to it; set server.tls_certificate")
        return None
    for name, path in (("tls_certificate", certificate), ("tls_key", key or certificate)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise BadCertificate(name, f"cannot be read: {error.strerror}") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadCertificate("tls_key", "it is the key of another certificate") from None
        raise BadCertificate(
            "tls_certificate", "allowed: a file in PEM form, with its key in it or in tls_key, without a password"
        ) from None
    return context


def _no_password() -> str:
    return ""  # asked for at the terminal otherwise
