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
LONGEST = 80  # characters of a stranger's text that are shown

# OpenSSL's X509_V_ERR_... that have a sentence of their own
NOT_YET_VALID, EXPIRED = 9, 10
SELF_SIGNED, SELF_SIGNED_ROOT = 18, 19
NO_ISSUER = (2, 20, 21)
OTHER_NAME = (62, 64)

OLD = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION")
NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
CLIENT_CERTIFICATE = ("CERTIFICATE_REQUIRED", "TLSV13_ALERT_CERTIFICATE_REQUIRED")
INTERCEPTED = (
    "A proxy that opens TLS on this machine's way out looks like this too: then name its CA in "
    "THINGSPACE_READINESS_CA_BUNDLE."
)

GOOD_ONE = f"ThingSpace needs a valid one of a public CA, sent with its whole chain (fullchain.pem). {INTERCEPTED}"


def public_cas() -> str:
    """Path of the PEM file with the CAs that the public trusts."""
    return str(DEFAULT_CA_BUNDLE_PATH)


def in_words(
    error: ssl.SSLError, host: str, port: int, proxy: str | None, ca_bundle: str, seconds: float
) -> tuple[str, str]:
    """What is wrong with the TLS of host and port, and what to do; asks the host for its certificates once more."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what, remedy = _untrusted(error, host, _sent(host, port, proxy, seconds))
        if ca_bundle != public_cas() and error.verify_code in {SELF_SIGNED, SELF_SIGNED_ROOT, *NO_ISSUER}:
            what += " (trusted was only THINGSPACE_READINESS_CA_BUNDLE)"
        return what, remedy
    reason = str(error.reason or "")
    if reason in OLD:
        return f"{host}:{port} speaks no TLS newer than 1.1", "Switch on TLS 1.2 or 1.3 there."
    if reason in NOT_TLS:
        return (
            f"{host}:{port} does not speak TLS",
            "Give it a certificate of a public CA, or write http:// if it is to be plain HTTP.",
        )
    if any(word in reason for word in CLIENT_CERTIFICATE):
        return f"{host}:{port} asks for a client's certificate", "ThingSpace has none to show: switch that off there."
    words = reason.replace("_", " ").lower() or "closed in the middle"
    return (
        f"{host}:{port} ended the TLS handshake ({words})",
        f"It may have no certificate for {host}, no cipher that others know, or ask for a client's certificate.",
    )


def _untrusted(error: ssl.SSLCertVerificationError, host: str, sent: list[Certificate]) -> tuple[str, str]:
    """Which check failed. `sent` is the server's chain, its own certificate first; empty when it is not known."""
    if not sent:
        return f"the certificate is refused ({error.verify_message.rstrip('.')})", GOOD_ONE
    code = error.verify_code
    own, last = sent[0], sent[-1]
    if code in {EXPIRED, NOT_YET_VALID}:
        return _out_of_time(code, sent)
    if code in OTHER_NAME:
        names = ", ".join(_text(name) for _, name in own.get("subjectAltName", ())) or _name(own["subject"])
        return f"the certificate is for {names}, not for {host}", f"Have one issued that names {host}."
    if code == SELF_SIGNED:
        return (
            f"the certificate ({_name(own.get('subject'))}) is self-signed",
            f"ThingSpace trusts public CAs only: have one of these issue it. {INTERCEPTED}",
        )
    if code == SELF_SIGNED_ROOT:
        return (
            f"the certificate comes from {_name(last['subject'])}, which is no public CA",
            f"Use a public CA. {INTERCEPTED}",
        )
    if code in NO_ISSUER and len(sent) == 1 and own.get("caIssuers"):
        return (
            f"the chain is incomplete: the server sends its own certificate alone, without {_name(own['issuer'])}",
            "Configure the full chain (fullchain.pem) there. Browsers hide this, because they fetch what is missing.",
        )
    if code in NO_ISSUER:
        return (
            f"the chain ends at {_name(last['issuer'])}, which is no public CA"
            + (", or is incomplete" if len(sent) == 1 else ""),
            f"Use a public CA, and have the server send the whole chain (fullchain.pem). {INTERCEPTED}",
        )
    return f"the certificate is refused ({error.verify_message.rstrip('.')})", GOOD_ONE


def _out_of_time(code: int, sent: list[Certificate]) -> tuple[str, str]:
    now = dt.datetime.now(dt.timezone.utc)
    if code == NOT_YET_VALID:
        begins = max(_time(it["notBefore"]) for it in sent)
        return (
            f"the certificate is not valid before {begins:%Y-%m-%d %H:%M} UTC",
            "Look at this machine's clock, or wait.",
        )
    old = next((it for it in sent if _time(it["notAfter"]) < now), sent[0])
    whose = "the certificate" if old is sent[0] else "a certificate of its chain"
    return (
        f"{whose} ({_name(old['subject'])}) expired on {_time(old['notAfter']):%Y-%m-%d}",
        "Renew it, and have the server load the new one.",
    )


def _sent(host: str, port: int, proxy: str | None, seconds: float) -> list[Certificate]:
    """The certificates that a server sends, its own first, none verified; empty when they cannot be had.

    Nothing but the handshake is sent. What was received is only given by the inner object of Python's TLS socket, and
    publicly not before 3.13, so it may be missing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(OSError, http.client.HTTPException, AttributeError, ValueError):
        connection = _connection(host, port, proxy, context, seconds)
        try:
            connection.connect()
            received: Any = getattr(connection.sock, "_sslobj", None)
            return [certificate.get_info() for certificate in received.get_unverified_chain() or ()]
        finally:
            connection.close()
    return []


def _connection(
    host: str, port: int, proxy: str | None, context: ssl.SSLContext, seconds: float
) -> http.client.HTTPSConnection:
    if proxy is None:
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    through = urlsplit(proxy)
    connection = http.client.HTTPSConnection(through.hostname or "", through.port, timeout=seconds, context=context)
    connection.set_tunnel(host, port, HTTPAdapter().proxy_headers(proxy))
    return connection


def _name(parts: Any) -> str:
    """A subject or issuer in short: its common name and organisation."""
    known = {key: value for pair in parts or () for key, value in pair}
    named = [_text(known[key]) for key in ("commonName", "organizationName") if known.get(key)]
    return " of ".join(named) or "an unnamed issuer"


def _text(value: object) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))[:LONGEST]


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(text), dt.timezone.utc)
