"""Errors of calls to ThingSpace and of the readiness probe.

    ThingSpaceError                    base class: action, account, detail and hint
    ├── CredentialsMissing             not sent: a credential is not configured
    ├── InvalidSetting                 not sent: a setting or a credential has an unusable value
    ├── LoginBlocked                   not sent: ThingSpace rejected these credentials before
    ├── NoResponse                     DNS, connection, TLS or timeout error
    ├── DeadlineExceeded               the deadline of the resource operation passed
    ├── ListenerNotReady               the readiness probe of the callback URL failed
    ├── UnexpectedResponse             a success response in an undocumented form
    └── ErrorResponse                  an error response: `status`, `code` and `retry_after`
        ├── AccessTokenRejected        gateway: access token missing, wrong or expired
        ├── ApplicationKeyRejected     token call: application key or secret wrong
        ├── LoginRejected              login: user name or password wrong, or the user is locked
        ├── SessionRejected            m2m: session token missing, expired or unknown
        ├── AccountRejected            m2m: unknown account, or another user's
        ├── InputRejected              m2m: invalid value in the request
        ├── RouteNotFound              gateway: unknown path, scheme or method (often XML)
        ├── RateLimited                429
        └── ServerError                5xx

Every error can be pickled. No error holds a credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class ThingSpaceError(Exception):
    """Base class. Its text is `<action> failed for account <name>: <detail>. <hint>`.

    Args:
        action: what failed, as a gerund, for example "starting SMS callbacks".
        account: the ThingSpace account, if the action concerns one.
        detail: the response, or the reason why there is none.
        hint: the next step for the user, as an imperative.
    """

    def __init__(self, action: str, account: str | None = None, detail: str = "", hint: str = "") -> None:
        super().__init__(action, account, detail, hint)
        self.action = action
        self.account = account
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        message = f"{self.action} failed" + (f" for account {self.account}" if self.account else "")
        if self.detail:
            message += f": {self.detail}"
        if not message.endswith((".", "!", "?")):
            message += "."
        return f"{message} {self.hint}".rstrip()

    def with_detail(self, detail: str) -> Self:
        """Return the same error with another detail."""
        action, account, _, *rest = self.args
        return type(self)(action, account, detail, *rest)


class CredentialsMissing(ThingSpaceError):
    """A credential is not configured, so nothing was sent."""


class InvalidSetting(ThingSpaceError):
    """A setting or a credential has a value that cannot be used, so nothing was sent."""


class NoResponse(ThingSpaceError):
    """A request got no response.

    Args:
        action: as in ThingSpaceError.
        account: as in ThingSpaceError.
        detail: the reason.
        hint: as in ThingSpaceError.
        request_sent: whether ThingSpace may have received the request; False without a connection.
        is_transient: whether another attempt can succeed.
    """

    def __init__(
        self,
        action: str,
        account: str | None = None,
        detail: str = "",
        hint: str = "",
        request_sent: bool = True,
        is_transient: bool = True,
    ) -> None:
        super().__init__(action, account, detail, hint)
        self.args = (action, account, detail, hint, request_sent, is_transient)
        self.request_sent = request_sent
        self.is_transient = is_transient


class DeadlineExceeded(ThingSpaceError):
    """The deadline of the resource operation passed; the detail names what it waited for."""


class LoginBlocked(ThingSpaceError):
    """The login guard blocked a login, because ThingSpace rejected, or may have rejected, these credentials before."""


class ListenerNotReady(ThingSpaceError):
    """The readiness probe of a callback URL failed."""


class UnexpectedResponse(ThingSpaceError):
    """ThingSpace reported success in an undocumented form."""


class ErrorResponse(ThingSpaceError):
    """ThingSpace, or its API gateway, returned an error response.

    Args:
        action: as in ThingSpaceError.
        account: as in ThingSpaceError.
        detail: status, code and message of the response.
        hint: as in ThingSpaceError.
        status: HTTP status.
        code: ThingSpace's error code, or "" without one.
        retry_after: the seconds of its `Retry-After`, 0 without one.
    """

    def __init__(
        self,
        action: str,
        account: str | None = None,
        detail: str = "",
        hint: str = "",
        status: int = 0,
        code: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(action, account, detail, hint)
        self.args = (action, account, detail, hint, status, code, retry_after)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class AccessTokenRejected(ErrorResponse):
    """The gateway rejected the access token."""


class ApplicationKeyRejected(ErrorResponse):
    """ThingSpace issued no access token for this application key and secret."""


class LoginRejected(ErrorResponse):
    """ThingSpace rejected the user name or password, or the user is locked. It does not document which."""


class SessionRejected(ErrorResponse):
    """The session token is missing or unknown, or expired after 20 idle minutes."""


class AccountRejected(ErrorResponse):
    """The account does not exist, or this user may not use it."""


class InputRejected(ErrorResponse):
    """The request holds a value that ThingSpace rejects."""


class RouteNotFound(ErrorResponse):
    """The gateway does not know the path, or rejects it before it reaches ThingSpace."""


class RateLimited(ErrorResponse):
    """The rate of requests is too high."""


class ServerError(ErrorResponse):
    """ThingSpace failed."""
