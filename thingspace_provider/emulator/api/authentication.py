"""Authentication: access tokens of applications, sessions of users, and the lockout after five failed logins."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import string
import uuid
from urllib.parse import parse_qs

from thingspace_provider.emulator.api.responses import (
    SESSION_PREFIX,
    ApiResponse,
    RequestRejected,
    empty_response,
    gateway_error,
    json_response,
    oauth_error,
    rejection,
    xml_error,
)
from thingspace_provider.emulator.platform.state import PlatformState, Session, Token
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.virtual_clock import VirtualClock

TOKEN_SECONDS = 3600
SESSION_SECONDS = 20 * 60
LOCKOUT_THRESHOLD = 5
EXPIRED_SESSION_RETENTION_SECONDS = 24 * 3600
"""Time after which an expired session is unknown."""


class Authenticator:
    """Issues and checks access tokens and sessions."""

    def __init__(self, state: PlatformState, clock: VirtualClock, switches: Switches) -> None:
        self._state, self._clock, self._switches = state, clock, switches

    def issue_token(self, authorization: str | None, form: bytes) -> ApiResponse:
        """Issue an access token. An application gets the same one again until it expires."""
        app = self._authenticate_application(authorization)
        if _parse_form_field(form, "grant_type") != "client_credentials":
            raise RequestRejected(
                oauth_error("invalid_request", "Missing or unsupported grant_type parameter value", 400)
            )
        now = self._clock.now()
        token = self._state.tokens.get(app)
        if token is None or now - token.issued >= TOKEN_SECONDS:
            token = self._state.tokens[app] = Token(secrets.token_hex(16), now)
        remaining = TOKEN_SECONDS - int(now - token.issued)
        return json_response(
            {
                "access_token": token.value,
                "scope": "am_application_scope default",
                "token_type": "Bearer",
                "expires_in": remaining if self._switches["expiresIn"] == "countsDown" else TOKEN_SECONDS,
            }
        )

    def revoke(self, authorization: str | None, form: bytes) -> ApiResponse:
        """Revoke a token of the application. An unknown token is not an error."""
        app = self._authenticate_application(authorization)
        value = _parse_form_field(form, "token")
        if not value:
            raise RequestRejected(oauth_error("invalid_request", "Missing token parameter", 400))
        token = self._state.tokens.get(app)
        if token is None or token.value != value or not value.isalnum():
            return empty_response()
        del self._state.tokens[app]
        return empty_response({"RevokedAccessToken": value})

    def check_access_token(self, authorization: str | None) -> None:
        """Check the access token of a call. Raises RequestRejected."""
        scheme, _, value = (authorization or "").strip().partition(" ")
        if not scheme:
            raise RequestRejected(gateway_error("900902"))
        if scheme.lower() != "bearer":
            raise RequestRejected(xml_error(403))
        now = self._clock.now()
        known = any(
            hmac.compare_digest(token.value.encode(), value.strip().encode()) and now - token.issued < TOKEN_SECONDS
            for token in self._state.tokens.values()
        )
        if not known:
            raise RequestRejected(gateway_error("900901"))

    def check_session(self, value: str | None) -> str:
        """Return the user of a session and reset its idle time. Raises RequestRejected."""
        if not value:
            raise rejection(
                SESSION_PREFIX, "REQUEST_FAILED.SessionToken.Format", "The session token header is missing."
            )
        try:
            key = str(uuid.UUID(value))
        except ValueError:
            raise rejection(
                SESSION_PREFIX, "INPUT_INVALID.SessionToken.Invalid", "The session token is not valid."
            ) from None
        session = self._state.sessions.get(key)
        now = self._clock.now()
        expired = session is not None and now - session.used > SESSION_SECONDS
        if expired or (session is None and self._switches["unknownSession"] == "expired"):
            raise rejection(SESSION_PREFIX, "REQUEST_FAILED.SessionToken.Expired", "The Session has expired.")
        if session is None:
            raise rejection(SESSION_PREFIX, "INPUT_INVALID.SessionToken.Invalid", "The session token is not valid.")
        session.used = now
        return session.username

    def login(self, username: str, password: str) -> ApiResponse:
        """Start a session. The fifth failed login in a row locks the user. Raises RequestRejected."""
        user = self._state.users.get(username)
        status = int(self._switches["wrongPassword"])
        if user is not None and user.locked:
            raise rejection(
                SESSION_PREFIX, "REQUEST_FAILED.Emulator.UserLocked", "The user is locked. Contact support.", status
            )
        if user is None or not hmac.compare_digest(user.password.encode(), password.encode()):
            if user is not None:
                user.failed_logins += 1
                user.locked = user.failed_logins >= LOCKOUT_THRESHOLD
            raise rejection(
                SESSION_PREFIX, "REQUEST_FAILED.Emulator.LoginRejected", "The username or password is wrong.", status
            )
        user.failed_logins = 0
        now = self._clock.now()
        sessions = self._state.sessions
        ends_older_sessions = self._switches["olderSessions"] == "ended"
        for key, session in list(sessions.items()):
            if now - session.used > EXPIRED_SESSION_RETENTION_SECONDS or (
                ends_older_sessions and session.username == username
            ):
                del sessions[key]
        token = str(uuid.uuid4())
        sessions[token] = Session(username, now)
        return json_response({"sessionToken": token})

    def logout(self, value: str) -> ApiResponse:
        """End a session."""
        self._state.sessions.pop(str(uuid.UUID(value)), None)
        return json_response({"sessionToken": value})

    def reset_password(self, username: str, old_password: str) -> ApiResponse:
        """Replace the password of a user by a random one. Sessions stay valid. Raises RequestRejected."""
        user = self._state.users[username]
        if not hmac.compare_digest(user.password.encode(), old_password.encode()):
            raise rejection(SESSION_PREFIX, "REQUEST_FAILED.Emulator.OldPasswordWrong", "The old password is wrong.")
        alphabet = string.ascii_letters + string.digits
        user.password = "".join(secrets.choice(alphabet) for _ in range(12))
        return json_response({"newPassword": user.password})

    def _authenticate_application(self, authorization: str | None) -> str:
        scheme, _, value = (authorization or "").strip().partition(" ")
        if scheme.lower() != "basic":
            raise RequestRejected(gateway_error("900902"))
        try:
            key, colon, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            key, colon, secret = "", "", ""
        expected = self._state.applications.get(key)
        if not colon or expected is None or not hmac.compare_digest(expected.encode(), secret.encode()):
            raise RequestRejected(oauth_error("invalid_client", "Client authentication failed", 401))
        return key


def _parse_form_field(form: bytes, name: str) -> str | None:
    values = parse_qs(form.decode("utf-8", "replace"), max_num_fields=100).get(name)
    return values[0] if values else None
