"""The page at `/`: what is going on, and a box to send a text as a device. Rendered here, so it needs no network."""

from __future__ import annotations

import itertools
import secrets
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from thingspace_provider.emulator.api.history import timestamp
from thingspace_provider.emulator.emulator import Emulator
from thingspace_provider.emulator.platform.journal import masked

if TYPE_CHECKING:
    from jinja2 import Environment

SHOWN = 20
CHOICES = 50
FORM_BYTES = 64 * 1024


class Page:
    """The handlers of `/`, `/live`, `/texts` and `/unlock`."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.routes = [
            Route("/", self.show, methods=["GET"]),
            Route("/live", self.live, methods=["GET"]),
            Route("/texts", self.send_text, methods=["POST"]),
            Route("/unlock", self.unlock, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """The whole page."""
        nonce = secrets.token_urlsafe(12)
        root = str(request.base_url)
        content = self._templates.get_template("page.html").render(
            nonce=nonce,
            url=f"{root}api",
            port=request.url.port or 80,
            said=request.query_params.get("said", ""),
            chosen=request.query_params.get("device", ""),
            **self._facts(),
        )
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(content, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})

    async def live(self, request: Request) -> Response:
        """The part of the page that changes."""
        del request
        content = self._templates.get_template("live.html").render(**self._facts())
        return HTMLResponse(content, headers={"Cache-Control": "no-store"})

    async def send_text(self, request: Request) -> Response:
        """The box: `device` is an account and the device's place in it, `message` the text."""
        form = await _form(request)
        name, _, place = form.get("device", "").rpartition("/")
        account, message = self._emulator.world.accounts.get(name), form.get("message", "")
        if account is None or not place.isdecimal() or int(place) >= len(account.devices):
            return _back("There is no such device.")
        if not message:
            return _back("An empty text was not sent.", form["device"])
        self._emulator.platform.text_from_device(name, account.devices[int(place)], message)
        return _back(f"Sent from {_label(account.devices[int(place)].ids)}: {message}", form["device"])

    async def unlock(self, request: Request) -> Response:
        """The button that stands for a call to support."""
        username = (await _form(request)).get("username", "")
        user = self._emulator.world.users.get(username)
        if user is None:
            return _back("There is no such user.")
        user.strikes, user.locked = 0, False
        return _back(f"{username} may log in again.")

    @cached_property
    def _templates(self) -> Environment:
        """Loaded when the page is first asked for, so that the emulator is ready sooner."""
        from jinja2 import Environment, PackageLoader  # noqa: PLC0415

        return Environment(loader=PackageLoader(__package__ or ""), autoescape=True, trim_blocks=True)

    def _facts(self) -> dict[str, Any]:
        world, journal = self._emulator.world, self._emulator.journal
        queued = [(name, text) for name, one in world.accounts.items() for text in _first(one.queue.values(), SHOWN)]
        total = sum(len(account.queue) for account in world.accounts.values())
        devices = _first(world.all_devices(), CHOICES)
        return {
            "accounts": [
                {
                    "name": name,
                    "devices": len(account.devices),
                    "choices": [
                        (f"{name}/{place}", f"{name}, {_label(device.ids)}")
                        for place, device in enumerate(account.devices[:CHOICES])
                    ],
                    "listeners": [
                        {"service": key, "url": masked(one.url)} for key, one in account.registrations.items()
                    ],
                    "queued": len(account.queue),
                    "in_flight": len(account.in_flight),
                }
                for name, account in world.accounts.items()
            ],
            "queued": [
                {
                    "account": name,
                    "device": _label(text.device.ids),
                    "message": text.message,
                    "received": timestamp(text.received),
                }
                for name, text in queued[:SHOWN]
            ],
            "more_queued": total - min(total, len(queued[:SHOWN])),
            "deliveries": [
                {**one, "when": timestamp(one["at"])} for one in _first(reversed(journal.deliveries), SHOWN)
            ],
            "calls": [{**one, "when": timestamp(one["at"])} for one in _first(reversed(journal.calls), SHOWN)],
            "devices": [
                {
                    "account": name,
                    "ids": ", ".join(f"{kind} {value}" for kind, value in device.ids.items()),
                    "state": ("active" if device.active else "inactive")
                    + ("" if device.reachable else ", cannot be reached"),
                }
                for name, device in devices
            ],
            "more_devices": sum(len(account.devices) for account in world.accounts.values()) - len(devices),
            "users": [
                {"name": name, "strikes": user.strikes, "locked": user.locked} for name, user in world.users.items()
            ],
        }


def _first(items: Any, count: int) -> list[Any]:
    return list(itertools.islice(items, count))


def _label(ids: dict[str, str]) -> str:
    kind, value = next(iter(ids.items()))
    return f"{kind} {value}"


def _back(said: str, device: str = "") -> Response:
    return RedirectResponse(f"/?said={quote(said[:300])}&device={quote(device)}", 303)


async def _form(request: Request) -> dict[str, str]:
    content = b""
    async for chunk in request.stream():
        content = (content + chunk)[:FORM_BYTES]
    values = parse_qs(content.decode("utf-8", "replace"), max_num_fields=100)
    return {name: items[0] for name, items in values.items()}
