"""Endpoint of the control API: parses a request, calls a handler, and encodes the result."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thingspace_provider.emulator.platform.state_json import InvalidState
from thingspace_provider.emulator.platform.switches import InvalidSwitch
from thingspace_provider.emulator.platform.validation import describe_errors

PREFIX = "/_emulator/"
MAX_BODY_BYTES = 1024 * 1024


class InvalidRequest(ValueError):
    """A control request that cannot be executed; the message says what would be valid."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One request of the control API.

    The handler gets the validated query or body, the parameters of the path, and the base URL if it `takes_url`. Its
    docstring describes the request in the OpenAPI document.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    status: int = 200
    max_body_bytes: int = MAX_BODY_BYTES
    takes_url: bool = False

    def route(self) -> Route:
        """Return the route that serves the endpoint."""
        return Route(PREFIX + self.path, self.respond, methods=[self.method])

    async def respond(self, request: Request) -> Response:
        """Respond to one request, with 400 and `{"error"}` if it is invalid."""
        inputs: list[Any] = []
        try:
            if self.query is not None:
                inputs.append(_validate(self.query, dict(request.query_params)))
            if self.body is not None:
                inputs.append(_validate(self.body, await _read_body(request, self.max_body_bytes)))
            inputs.extend(request.path_params.values())
            if self.takes_url:
                inputs.append(str(request.base_url).rstrip("/"))
            result = self.handler(*inputs)
            if inspect.isawaitable(result):
                result = await result
        except (InvalidRequest, InvalidState, InvalidSwitch) as error:
            return JSONResponse({"error": str(error)}, 400)
        return result if isinstance(result, Response) else JSONResponse(result, self.status)


def _validate(model: type[BaseModel], source: dict[str, str] | bytes) -> BaseModel:
    try:
        return model.model_validate_json(source) if isinstance(source, bytes) else model.model_validate(source)
    except ValidationError as error:
        raise InvalidRequest(describe_errors(error)) from error


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """Read a JSON body. An excess is discarded while it arrives."""
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json":  # a form of another site cannot have this type
        raise InvalidRequest("the body must be JSON with the Content-Type application/json")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= max_bytes:
            chunks.append(chunk)
        else:
            chunks.clear()
    if size > max_bytes:
        raise InvalidRequest(f"the body is larger than {max_bytes} bytes")
    return b"".join(chunks)
