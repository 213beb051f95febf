"""A client of ThingSpace of your own, here with requests. Any language and library will do."""

from __future__ import annotations

from typing import Any

import requests


class Client:
    """Registers a listener and drains the queue of an account."""

    def __init__(self, base_url: str, key: str, secret: str, username: str, password: str) -> None:
        self._base_url = base_url
        self._session = requests.Session()
        token = self._send("POST", "/ts/v1/oauth2/token", auth=(key, secret), data={"grant_type": "client_credentials"})
        self._session.headers["Authorization"] = f"Bearer {token['access_token']}"
        login = self._send("POST", "/m2m/v1/session/login", json={"username": username, "password": password})
        self._session.headers["VZ-M2M-Token"] = login["sessionToken"]

    def register(self, account: str, url: str) -> None:
        """Register a listener for device messages."""
        body = {"name": "EnhancedConnectivityService", "url": url}
        self._send("POST", f"/m2m/v1/callbacks/{account}", json=body)

    def start_callbacks(self, account: str) -> None:
        """Make ThingSpace send the queued messages."""
        self._send("PUT", f"/m2m/v1/sms/{account}/startCallbacks")

    def _send(self, method: str, path: str, **options: Any) -> Any:
        response = self._session.request(method, self._base_url + path, timeout=10, **options)
        response.raise_for_status()
        return response.json()
