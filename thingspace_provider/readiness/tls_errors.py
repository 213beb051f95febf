"""Explanations of TLS errors between this machine and a listener, with the names in its certificates.

Only public CAs are trusted: Mozilla's list, which `requests` ships, and not this machine's list, because ThingSpace
does not trust the CA of a company.
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

Certificate = dict[str, Any]  # format of ssl.SSLSocket.getpeercert()
MAX_TEXT_LENGTH = 80  # characters of foreign text in an error

# verify codes of OpenSSL, X509_V_ERR_...
NOT_YET_VALID, EXPIRED = 9, 10
SELF_SIGNED, SELF_SIGNED_ROOT = 18, 19
UNKNOWN_ISSUER = (2, 20, 21)
NAME_MISMATCH = (62, 64)

OLD_TLS_REASONS = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION")
NOT_TLS_REASONS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
CLIENT_CERTIFICATE_REASONS = ("CERTIFICATE_REQUIRED", "TLSV13_ALERT_CERTIFICATE_REQUIRED")
INTERCEPTION_HINT = (
    "If a proxy of this machine intercepts TLS, set THINGSPACE_READINESS_CA_BUNDLE to a PEM file with its CA."
)
CERTIFICATE_HINT = (
    f"Install a valid certificate of a public CA, with its full chain (fullchain.pem). {INTERCEPTION_HINT}"
)


def public_ca_bundle() -> str:
    """Return the path of a PEM file with the public CAs."""
    return str(DEFAULT_CA_BUNDLE_PATH)


def explain_tls_error(
    error: ssl.SSLError, host: str, port: int, proxy: str | None, ca_bundle: str, seconds: float
) -> tuple[str, str]:
    """Return detail and hint for a TLS error. Connects again to read the certificates of the host."""
    if isinstance(error, ssl.SSLCertVerificationError):
        detail, hint = _explain_verification_error(error, host, _fetch_peer_chain(host, port, proxy, seconds))
        if ca_bundle != public_ca_bundle() and error.verify_code in {SELF_SIGNED, SELF_SIGNED_ROOT, *UNKNOWN_ISSUER}:
            detail += " (only THINGSPACE_READINESS_CA_BUNDLE is trusted)"
        return detail, hint
    reason = str(error.reason or "")
    if reason in OLD_TLS_REASONS:
        return f"{host}:{port} supports no TLS version newer than 1.1", "Enable TLS 1.2 or 1.3 there."
    if reason in NOT_TLS_REASONS:
        return (
            f"{host}:{port} does not speak TLS",
            "Install a certificate of a public CA there, or begin the URL with http:// for plain HTTP.",
        )
    if any(word in reason for word in CLIENT_CERTIFICATE_REASONS):
        return f"{host}:{port} requires a client certificate", "Disable that there: ThingSpace sends none."
    reason_text = reason.replace("_", " ").lower() or "connection closed"
    return (
        f"{host}:{port} ended the TLS handshake ({reason_text})",
        f"Check that the server there has a certificate for {host} and requires no client certificate.",
    )


def _explain_verification_error(
    error: ssl.SSLCertVerificationError, host: str, chain: list[Certificate]
) -> tuple[str, str]:
    """Return detail and hint for a failed verification. The chain is empty, or begins with the host's certificate."""
    if not chain:
        return f"the certificate is rejected ({error.verify_message.rstrip('.')})", CERTIFICATE_HINT
    code = error.verify_code
    own, issuer_side = chain[0], chain[-1]
    if code in {EXPIRED, NOT_YET_VALID}:
        return _explain_validity(code, chain)
    if code in NAME_MISMATCH:
        names = ", ".join(_to_printable(name) for _, name in own.get("subjectAltName", ())) or _format_name(
            own["subject"]
        )
        return f"the certificate is for {names}, not for {host}", f"Install a certificate for {host}."
    if code == SELF_SIGNED:
        return (
            f"the certificate ({_format_name(own.get('subject'))}) is self-signed",
            f"Install a certificate of a public CA: ThingSpace trusts no other. {INTERCEPTION_HINT}",
        )
    if code == SELF_SIGNED_ROOT:
        return (
            f"the certificate is issued by {_format_name(issuer_side['subject'])}, which is not a public CA",
            f"Install a certificate of a public CA. {INTERCEPTION_HINT}",
        )
    if code in UNKNOWN_ISSUER and len(chain) == 1 and own.get("caIssuers"):
        return (
            f"the chain is incomplete: the server does not send the certificate of {_format_name(own['issuer'])}",
            "Configure the full chain (fullchain.pem) there. Browsers hide the error, because they fetch the rest.",
        )
    if code in UNKNOWN_ISSUER:
        return (
            f"the chain ends at {_format_name(issuer_side['issuer'])}, which is not a public CA"
            + (", or is incomplete" if len(chain) == 1 else ""),
            f"Install a certificate of a public CA, with its full chain (fullchain.pem). {INTERCEPTION_HINT}",
        )
    return f"the certificate is rejected ({error.verify_message.rstrip('.')})", CERTIFICATE_HINT


def _explain_validity(code: int, chain: list[Certificate]) -> tuple[str, str]:
    now = dt.datetime.now(dt.timezone.utc)
    if code == NOT_YET_VALID:
        valid_from = max(_parse_time(certificate["notBefore"]) for certificate in chain)
        return (
            f"the certificate is not valid before {valid_from:%Y-%m-%d %H:%M} UTC",
            "Check this machine's clock, or wait.",
        )
    expired = next((item for item in chain if _parse_time(item["notAfter"]) < now), chain[0])
    subject = "the certificate" if expired is chain[0] else "a certificate of its chain"
    return (
        f"{subject} ({_format_name(expired['subject'])}) expired on {_parse_time(expired['notAfter']):%Y-%m-%d}",
        "Renew it, and reload it in the server.",
    )


def _fetch_peer_chain(host: str, port: int, proxy: str | None, seconds: float) -> list[Certificate]:
    """Return the unverified certificates of a server, its own first; an empty list if that is impossible.

    Sends only the handshake. Before Python 3.13, the received chain is available only from a private attribute, which
    can be missing.
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
    """Return the common name and organisation of a subject or issuer."""
    attributes = {key: value for pair in parts or () for key, value in pair}
    values = [_to_printable(attributes[key]) for key in ("commonName", "organizationName") if attributes.get(key)]
    return " of ".join(values) or "an unnamed issuer"


def _to_printable(value: object) -> str:
    return "".join(character if character.isprintable() else "?" for character in str(value))[:MAX_TEXT_LENGTH]


def _parse_time(text: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(text), dt.timezone.utc)
