"""TLS: the trusted authorities, and advice for the user after a failed handshake."""

from __future__ import annotations

import ssl
from pathlib import Path

_UNTRUSTED = "--ca FILE names the authorities to trust"
_EXPIRED = "it must be renewed, unless the clock here is wrong"
_MISNAMED = "connect to the name that it is made for"
#: Advice for the user, by OpenSSL's X509_V_ERR_* code.
_ADVICE = {9: _EXPIRED, 10: _EXPIRED, 62: _MISNAMED, 64: _MISNAMED} | dict.fromkeys(range(18, 22), _UNTRUSTED)


class CertificateError(ConnectionError):
    """The server has not proved that it is the wanted server."""


def context(authorities: Path | None = None) -> ssl.SSLContext:
    """Return a context for `Client`: TLS 1.2 or later, with the server's name checked.

    It trusts the authorities of this PEM file, else those of the system. Raises OSError if the file cannot be
    read; its `strerror` says why.
    """
    try:
        context = ssl.create_default_context(cafile=authorities)
    except ssl.SSLError as error:
        raise OSError(error.errno, "no certificate in PEM form") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # the system's configuration may allow older versions
    return context


def explained(error: OSError, host: str) -> OSError:
    """Return the error to raise for a failed TLS connection. Its text says what the user can do."""
    match error:
        case ssl.SSLCertVerificationError():
            advice = _ADVICE.get(error.verify_code, "it must be replaced")
            why = error.verify_message.rstrip(".")
            return CertificateError(f"the certificate of {host} is refused: {why}; {advice}")
        case ssl.SSLError():
            why = (error.reason or "handshake failed").replace("_", " ").lower()
        case ConnectionResetError():
            why = "closed at once"
        case TimeoutError():
            why = "no answer"
        case _:
            return error
    return ConnectionError(
        f"no TLS connection to {host}: {why}; "
        "if the server has no TLS, --plain connects without it, and others can read what is sent"
    )
