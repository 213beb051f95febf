"""Access to the emulator: from which machine, to which host name, from which page a request may come.

A site can resolve its own name to this machine (DNS rebinding). So a request from this machine must name a host that
is this machine, and no page of another origin may send one.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.types import Scope


def control_rejection_reason(scope: Scope, host_name: str) -> str | None:
    """Return why control API and page reject a request, or `None`. `host_name` is the one of the option `--host`."""
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return "the control API accepts requests from this machine only"
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if not _is_loopback(name) and name != host_name.lower():
        return "the emulator accepts the hosts 127.0.0.1, localhost, [::1] and the one of --host only"
    is_other_origin = headers.get(b"origin", f"http://{host}") != f"http://{host}"
    if is_other_origin or headers.get(b"sec-fetch-site", "none") not in {"none", "same-origin"}:
        return "the emulator rejects pages of another origin"
    return None


def api_rejection_reason(scope: Scope, host_name: str) -> str | None:
    """Return why the API rejects a request, or `None`. It accepts every request from another machine."""
    client = scope.get("client")
    return control_rejection_reason(scope, host_name) if client is not None and _is_loopback(client[0]) else None


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
