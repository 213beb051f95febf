"""Why a TLS connection to a listener was refused, in words, with what its certificate says.

Trusted is what a public CA signed: the list is Mozilla's, as `requests` brings it, and not this machine's, because
ThingSpace knows no company CA.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import ssl
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH

Certificate = dict[str, Any]  # as ssl.SSLSocket.getpeercert() gives it
MAX_TEXT_LENGTH = 80  # characters of a stranger's text that are shown

# OpenSSL's X509_V_ERR_... that have a sentence of their own
NOT_YET_VALID, EXPIRED = 9, 10
SELF_SIGNED, SELF_SIGNED_ROOT = 18, 19
UNKNOWN_ISSUER = (2, 20, 21)
NAME_MISMATCH = (62, 64)

OLD_TLS_REASONS = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION")
NOT_TLS_REASONS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
CLIENT_CERTIFICATE_REASONS = ("CERTIFICATE_REQUIRED", "TLSV13_ALERT_CERTIFICATE_REQUIRED")
INTERCEPTION_HINT = (
    "A proxy that opens TLS on this machine's way out looks like this too: then name its CA in "
    "THINGSPACE_READINESS_CA_BUNDLE."
)

CERTIFICATE_HINT = (
    f"ThingSpace needs a valid one of a public CA, sent with its whole chain (fullchain.pem). {INTERCEPTION_HINT}"
)


def public_ca_bundle() -> str:
    """Path of the PEM file with the CAs that the public trusts."""
    return str(DEFAULT_CA_BUNDLE_PATH)


def explain_tls_error(
    error: ssl.SSLError, host: str, port: int, proxy: str | None, ca_bundle: str, seconds: float
) -> tuple[str, str]:
    """What is wrong with the TLS of host and port, and what to do; asks the host for its certificates once more."""
    if isinstance(error, ssl.SSLCertVerificationError):
        detail, hint = _explain_verification_error(error, host, _fetch_peer_chain(host, port, proxy, seconds))
        if ca_bundle != public_ca_bundle() and error.verify_code in {SELF_SIGNED, SELF_SIGNED_ROOT, *UNKNOWN_ISSUER}:
            detail += " (trusted was only THINGSPACE_READINESS_CA_BUNDLE)"
        return detail, hint
    reason = str(error.reason or "")
    if reason in OLD_TLS_REASONS:
        return f"{host}:{port} speaks no TLS newer than 1.1", "Switch on TLS 1.2 or 1.3 there."
    if reason in NOT_TLS_REASONS:
        return (
            f"{host}:{port} does not speak TLS",
            "Give it a certificate of a public CA, or write http:// if it is to be plain HTTP.",
        )
    if any(word in reason for word in CLIENT_CERTIFICATE_REASONS):
        return f"{host}:{port} asks for a client's certificate", "ThingSpace has none to show: switch that off there."
    reason_text = reason.replace("_", " ").lower() or "closed in the middle"
    return (
        f"{host}:{port} ended the TLS handshake ({reason_text})",
        f"It may have no certificate for {host}, no cipher that others know, or ask for a client's certificate.",
    )


def _explain_verification_error(
    error: ssl.SSLCertVerificationError, host: str, chain: list[Certificate]
) -> tuple[str, str]:
    """Which check failed. `sent` is the server's chain, its own certificate first; empty when it is not known."""
    if not chain:
        return f"the certificate is refused ({error.verify_message.rstrip('.')})", CERTIFICATE_HINT
    code = error.verify_code
    own, issuer_side = chain[0], chain[-1]
    if code in {EXPIRED, NOT_YET_VALID}:
        return _explain_validity(code, chain)
    if code in NAME_MISMATCH:
        names = ", ".join(_to_printable(name) for _, name in own.get("subjectAltName", ())) or _format_name(
            own["subject"]
        )
        return f"the certificate is for {names}, not for {host}", f"Have one issued that names {host}."
    if code == SELF_SIGNED:
        return (
            f"the certificate ({_format_name(own.get('subject'))}) is self-signed",
            f"ThingSpace trusts public CAs only: have one of these issue it. {INTERCEPTION_HINT}",
        )
    if code == SELF_SIGNED_ROOT:
        return (
            f"the certificate comes from {_format_name(issuer_side['subject'])}, which is no public CA",
            f"Use a public CA. {INTERCEPTION_HINT}",
        )
    if code in UNKNOWN_ISSUER and len(chain) == 1 and own.get("caIssuers"):
        return (
            f"the chain is incomplete: the server sends its own certificate alone, without {_format_name(own['issuer'])}",  # noqa: E501
            "Configure the full chain (fullchain.pem) there. Browsers hide this, because they fetch what is missing.",
        )
    if code in UNKNOWN_ISSUER:
        return (
            f"the chain ends at {_format_name(issuer_side['issuer'])}, which is no public CA"
            + (", or is incomplete" if len(chain) == 1 else ""),
            f"Use a public CA, and have the server send the whole chain (fullchain.pem). {INTERCEPTION_HINT}",
        )
    return f"the certificate is refused ({error.verify_message.rstrip('.')})", CERTIFICATE_HINT


def _explain_validity(code: int, chain: list[Certificate]) -> tuple[str, str]:
    now = dt.datetime.now(dt.timezone.utc)
    if code == NOT_YET_VALID:
        valid_from = max(_parse_time(certificate["notBefore"]) for certificate in chain)
        return (
            f"the certificate is not valid before {valid_from:%Y-%m-%d %H:%M} UTC",
            "Look at this machine's clock, or wait.",
        )
    expired = next((it for it in chain if _parse_time(it["notAfter"]) < now), chain[0])
    subject = "the certificate" if expired is chain[0] else "a certificate of its chain"
    return (
        f"{subject} ({_format_name(expired['subject'])}) expired on {_parse_time(expired['notAfter']):%Y-%m-%d}",
        "Renew it, and have the server load the new one.",
    )


def _fetch_peer_chain(host: str, port: int, proxy: str | None, seconds: float) -> list[Certificate]:
    """The certificates that a server sends, its own first, none verified; empty when they cannot be had.

    Nothing but the handshake is sent. What was received is only given by the inner object of Python's TLS socket, and
    publicly not before 3.13, so it may be missing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(OSError, http.client.HTTPException, AttributeError, ValueError):
        connection = _create_connection(host, port, proxy, context, seconds)
        try:
            connection.connect()
            received: Any = getattr(connection.sock, "_sslobj", None)
            return [certificate.get_info() for certificate in received.get_unverified_chain() or ()]
        finally:
            connection.close()
    return []


def _create_connection(
    host: str, port: int, proxy: str | None, context: ssl.SSLContext, seconds: float
) -> http.client.HTTPSConnection:
    if proxy is None:
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    proxy_parts = urlsplit(proxy)
    connection = http.client.HTTPSConnection(
        proxy_parts.hostname or "", proxy_parts.port, timeout=seconds, context=context
    )
    connection.set_tunnel(host, port, HTTPAdapter().proxy_headers(proxy))
    return connection


def _format_name(parts: Any) -> str:
    """A subject or issuer in short: its common name and organisation."""
    attributes = {key: value for pair in parts or () for key, value in pair}
    values = [_to_printable(attributes[key]) for key in ("commonName", "organizationName") if attributes.get(key)]
    return " of ".join(values) or "an unnamed issuer"


def _to_printable(value: object) -> str:
    return "".join(character if character.isprintable() else "?" for character in str(value))[:MAX_TEXT_LENGTH]


def _parse_time(text: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(text), dt.timezone.utc)
