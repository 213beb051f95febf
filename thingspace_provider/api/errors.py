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
    """Something could not be done; the text is written for the person who has to act on it.

    Args:
        doing: what was being done, as "starting SMS callbacks".
        account: the ThingSpace account it was done for, if one was involved.
        answer: what came back, or what happened instead.
        remedy: what to do now.
    """

    def __init__(self, action: str, account: str | None = None, detail: str = "", hint: str = "") -> None:
        super().__init__(action, account, detail, hint)
        self.action = action
        self.account = account
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        whom = f" for account {self.account}" if self.account else ""
        message = f"{self.action}{whom}"
        if self.detail:
            message += f": {self.detail}"
        if not message.endswith((".", "!", "?")):
            message += "."
        return f"{message} {self.hint}".rstrip()

    def with_detail(self, detail: str) -> Self:
        """The same error with another account of what came back."""
        action, account, _, *rest = self.args
        return type(self)(action, account, detail, *rest)


class CredentialsMissing(ThingSpaceError):
    """A setting that every call needs is absent, or must not be used as it is."""


class InvalidSetting(ThingSpaceError):
    """A setting has a value that makes no sense."""


class NoResponse(ThingSpaceError):
    """There was no answer.

    Args:
        doing: what was being done.
        account: for which account.
        answer: what happened instead of an answer.
        remedy: what to do now.
        sent: whether the request may have been taken; False when there was no connection.
        passing: whether it may be different in a moment.
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
    """The time of the whole operation was used up; the text says what was waited for."""


class LoginBlocked(ThingSpaceError):
    """The call was not tried, because these credentials were refused before."""


class ListenerNotReady(ThingSpaceError):
    """The callback URL did not prove that it leads to the listener that was meant."""


class UnexpectedResponse(ThingSpaceError):
    """ThingSpace reported success in a form that is not documented."""


class ErrorResponse(ThingSpaceError):
    """ThingSpace, or the gateway before it, answered with an error.

    Args:
        doing: what was being done.
        account: for which account.
        answer: the answer in words.
        remedy: what to do now.
        status: HTTP status.
        code: ThingSpace's own code as it came, or "" if the answer held none.
        retry_after: seconds that ThingSpace asks to wait before the next try.
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
    """The gateway did not accept the OAuth access token."""


class ApplicationKeyRejected(ErrorResponse):
    """The application key or secret was not accepted for a token."""


class LoginRejected(ErrorResponse):
    """The user name or password was not accepted, or the user is locked: ThingSpace does not document which."""


class SessionRejected(ErrorResponse):
    """The session token is missing, has expired after 20 idle minutes, or is not known."""


class AccountRejected(ErrorResponse):
    """The account does not exist, or does not belong to this user."""


class InputRejected(ErrorResponse):
    """Something in the request is not acceptable to ThingSpace."""


class RouteNotFound(ErrorResponse):
    """The gateway does not know the address, or refuses it before ThingSpace sees it."""


class RateLimited(ErrorResponse):
    """Too many requests."""


class ServerError(ErrorResponse):
    """ThingSpace failed on its side."""
