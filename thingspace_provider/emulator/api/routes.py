"""Routes of the API: method and path of each operation."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from thingspace_provider.emulator.api.responses import RequestRejected, gateway_error, xml_error


@dataclass(frozen=True, slots=True)
class Route:
    """Method and path of an operation, under `/api`. `{name}` matches one segment that is not empty."""

    operation: str
    method: str
    path: str

    @property
    def segments(self) -> tuple[str, ...]:
        """Segments of the path."""
        return tuple(self.path.strip("/").split("/"))


ROUTES = (
    Route("token", "POST", "/ts/v1/oauth2/token"),
    Route("revoke", "POST", "/ts/v1/oauth2/revoke"),
    Route("login", "POST", "/m2m/v1/session/login"),
    Route("logout", "POST", "/m2m/v1/session/logout"),
    Route("resetPassword", "PUT", "/m2m/v1/session/password/actions/reset"),
    Route("listCallbacks", "GET", "/m2m/v1/callbacks/{account}"),
    Route("registerCallback", "POST", "/m2m/v1/callbacks/{account}"),
    Route("deregisterCallback", "DELETE", "/m2m/v1/callbacks/{account}/name/{service}"),
    Route("sendSms", "POST", "/m2m/v1/sms"),
    Route("smsHistory", "GET", "/m2m/v1/sms/{account}/history"),
    Route("startCallbacks", "PUT", "/m2m/v1/sms/{account}/startCallbacks"),
)

CONTEXTS = (("ts", "v1"), ("m2m", "v1"))

WITHOUT_ACCESS_TOKEN = frozenset({"token", "revoke"})
WITHOUT_SESSION = frozenset({"token", "revoke", "login"})


def match_route(method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
    """Find the route of a percent-encoded path under `/api`, and its decoded parameters.

    Raises RequestRejected: with gateway error 900906 for an unknown context or method, and with 404 in XML for an
    unknown path in a known context.
    """
    segments = tuple(raw_path.removeprefix("/").split("/"))
    path_known = False
    for route in ROUTES:
        parameters = _match(route.segments, segments)
        if parameters is None:
            continue
        path_known = True
        if route.method == method:
            return route, parameters
    if path_known or segments[:2] not in CONTEXTS:
        raise RequestRejected(gateway_error("900906"))
    raise RequestRejected(xml_error(404))


def _match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    parameters: dict[str, str] = {}
    for part, segment in zip(pattern, segments, strict=True):
        if part.startswith("{"):
            if not segment:
                return None
            parameters[part.strip("{}")] = unquote(segment)
        elif part != segment and not (part == "startCallbacks" and segment == "startcallbacks"):
            return None  # ThingSpace's documentation has both spellings
    return parameters
