"""JSON of the platform state, for export, import and the state file."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Literal
from uuid import UUID

from pydantic import Field, ValidationError

from thingspace_provider.emulator.platform.state import (
    Account,
    ArchivedCallback,
    OutboundMessage,
    PlatformState,
    Session,
    Timestamp,
    Token,
    User,
)
from thingspace_provider.emulator.platform.validation import StrictModel, describe_errors

STATE_FIELDS = [field.name for field in fields(PlatformState)]


class InvalidState(ValueError):
    """A state that cannot be imported; the message names the position."""


class StateJson(StrictModel):
    """Platform state, with the credentials of the emulator and of its listeners."""

    version: Literal[1]
    request_id_namespace: UUID
    last_number: int
    applications: dict[str, str] = Field(min_length=1)
    users: dict[str, User] = Field(min_length=1)
    tokens: dict[str, Token]
    sessions: dict[str, Session]
    accounts: dict[str, Account]
    outbound_messages: list[OutboundMessage]
    archive: list[ArchivedCallback]
    clock_seconds: Timestamp | None = Field(
        default=None, description="Virtual time of the export. The state file has it."
    )

    @classmethod
    def from_state(cls, state: PlatformState, clock_seconds: float | None = None) -> StateJson:
        """Build the document of a platform state. Messages in flight become queued."""
        accounts = {
            name: replace(account, queue={**account.in_flight, **account.queue}) if account.in_flight else account
            for name, account in state.accounts.items()
        }
        values = {name: getattr(state, name) for name in STATE_FIELDS} | {"accounts": accounts}
        return cls.model_construct(version=1, clock_seconds=clock_seconds, **values)

    @classmethod
    def decode(cls, content: bytes) -> StateJson:
        """Validate a document. Raises InvalidState."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise InvalidState(describe_errors(error)) from error

    def encode(self) -> bytes:
        """Return the document as JSON."""
        unset = {"clock_seconds"} if self.clock_seconds is None else set()
        return self.model_dump_json(by_alias=True, exclude=unset).encode()

    def to_state(self) -> PlatformState:
        """Build the platform state. Raises InvalidState if a reference has no target."""
        self._check_references()
        return PlatformState(**{name: getattr(self, name) for name in STATE_FIELDS})

    def _check_references(self) -> None:
        accounts = [
            (f"users.{name}.accounts", account) for name, user in self.users.items() for account in user.accounts
        ]
        accounts += [
            (f"outboundMessages[{index}]", message.account) for index, message in enumerate(self.outbound_messages)
        ]
        accounts += [(f"archive[{index}]", callback.account) for index, callback in enumerate(self.archive)]
        for path, account in accounts:
            if account not in self.accounts:
                raise InvalidState(f"{path}: there is no account {account!r}")
        for token, session in self.sessions.items():
            if session.username not in self.users:
                raise InvalidState(f"sessions.{token}: there is no user {session.username!r}")
