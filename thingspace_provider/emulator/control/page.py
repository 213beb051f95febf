"""Web page of the emulator: shows its state and sends messages as a device. Loads nothing from other hosts."""

from __future__ import annotations

import secrets
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from thingspace_provider.emulator.api.history import format_timestamp
from thingspace_provider.emulator.emulator import Emulator
from thingspace_provider.emulator.platform.journal import mask_url

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_ROWS = 20
MAX_DEVICE_CHOICES = 50
MAX_FORM_BYTES = 64 * 1024


class EmulatorPage:
    """Handlers of `/`, `/live`, `/messages` and `/unlock`."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.routes = [
            Route("/", self.show, methods=["GET"]),
            Route("/live", self.show_live, methods=["GET"]),
            Route("/messages", self.send_message, methods=["POST"]),
            Route("/unlock", self.unlock, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Show the page."""
        nonce = secrets.token_urlsafe(12)
        root = str(request.base_url)
        content = self._templates.get_template("page.html").render(
            nonce=nonce,
            url=f"{root}api",
            port=request.url.port or 80,
            message=request.query_params.get("message", ""),
            chosen=request.query_params.get("device", ""),
            **self._template_values(),
        )
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(content, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})

    async def show_live(self, request: Request) -> Response:
        """Show the part of the page that changes."""
        del request
        content = self._templates.get_template("live.html").render(**self._template_values())
        return HTMLResponse(content, headers={"Cache-Control": "no-store"})

    async def send_message(self, request: Request) -> Response:
        """Send a message from the form. `device` is an account and the position of the device in it."""
        form = await _parse_form(request)
        name, _, index = form.get("device", "").rpartition("/")
        account, message = self._emulator.state.accounts.get(name), form.get("message", "")
        if account is None or not index.isdecimal() or int(index) >= len(account.devices):
            return _redirect("There is no such device.")
        if not message:
            return _redirect("An empty message was not sent.", form["device"])
        self._emulator.router.receive_from_device(name, account.devices[int(index)], message)
        return _redirect(f"Sent from {_format_device(account.devices[int(index)].ids)}: {message}", form["device"])

    async def unlock(self, request: Request) -> Response:
        """Unlock a user, as Verizon's support does."""
        username = (await _parse_form(request)).get("username", "")
        user = self._emulator.state.users.get(username)
        if user is None:
            return _redirect("There is no such user.")
        user.failed_logins, user.locked = 0, False
        return _redirect(f"{username} is unlocked.")

    @cached_property
    def _templates(self) -> Environment:
        """Templates, loaded with the first page so that the emulator starts sooner."""
        from jinja2 import Environment, PackageLoader  # noqa: PLC0415

        templates = Environment(loader=PackageLoader(__package__ or ""), autoescape=True, trim_blocks=True)
        templates.filters |= {"device": _format_device, "mask": mask_url, "time": format_timestamp}
        return templates

    def _template_values(self) -> dict[str, Any]:
        state, journal = self._emulator.state, self._emulator.journal
        queued = ((name, message) for name, account in state.accounts.items() for message in account.queue.values())
        return {
            "accounts": state.accounts,
            "users": state.users,
            "queued": list(islice(queued, MAX_ROWS)),
            "total_queued": sum(len(account.queue) for account in state.accounts.values()),
            "deliveries": list(islice(reversed(journal.deliveries), MAX_ROWS)),
            "calls": list(islice(reversed(journal.calls), MAX_ROWS)),
            "devices": list(islice(state.all_devices(), MAX_DEVICE_CHOICES)),
            "total_devices": sum(len(account.devices) for account in state.accounts.values()),
            "max_choices": MAX_DEVICE_CHOICES,
        }


def _format_device(ids: dict[str, str]) -> str:
    kind, value = next(iter(ids.items()))
    return f"{kind} {value}"


def _redirect(message: str, device: str = "") -> Response:
    return RedirectResponse(f"/?message={quote(message[:300])}&device={quote(device)}", 303)


async def _parse_form(request: Request) -> dict[str, str]:
    content = b""
    async for chunk in request.stream():
        content = (content + chunk)[:MAX_FORM_BYTES]
    values = parse_qs(content.decode("utf-8", "replace"), max_num_fields=100)
    return {name: items[0] for name, items in values.items()}
