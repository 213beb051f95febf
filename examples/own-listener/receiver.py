"""A receiver of your own. Usage: python receiver.py credential.json messages.jsonl

It responds with 200 only after the message is on disk, because ThingSpace then never sends it again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

CREDENTIAL = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
MESSAGES = Path(sys.argv[2]).open("a", encoding="utf-8")  # noqa: SIM115  open until the process ends
WRITING = Lock()
SALT = b"thingspace-readiness-probe:" + CREDENTIAL["username"].encode()
PROBE_KEY = hashlib.scrypt(CREDENTIAL["password"].encode(), salt=SALT, n=2**14, r=8, p=5, dklen=32)


class Receiver(BaseHTTPRequestHandler):
    """Receives callbacks and responds to the readiness probe."""

    def do_POST(self) -> None:
        """Store a callback."""
        callback = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.has_path_token():
            self.respond(404)
            return
        password = callback.pop("password", "").encode()
        accepted = [CREDENTIAL["password"], *CREDENTIAL["previousPasswords"]]
        if not any(hmac.compare_digest(password, entry.encode()) for entry in accepted):
            self.respond(401)
            return
        with WRITING:
            print(json.dumps(callback), file=MESSAGES, flush=True)
            os.fsync(MESSAGES.fileno())
        self.respond(200)

    def do_GET(self) -> None:
        """Prove that this receiver has the credential, without receiving it."""
        if not self.has_path_token():
            self.respond(404)
            return
        account, nonce = self.path.rpartition("/")[2], self.headers.get("ThingSpace-Probe", "")
        proof = hmac.new(PROBE_KEY, f"{account}:{nonce}".encode(), hashlib.sha256).hexdigest()
        self.respond(200, {"account": account, "proof": proof})

    def has_path_token(self) -> bool:
        """Return whether the path is /sms/{path token}/{account}."""
        return hmac.compare_digest(self.path.rpartition("/")[0].encode(), f"/sms/{CREDENTIAL['pathToken']}".encode())

    def respond(self, status: int, body: object = None) -> None:
        """Send a response."""
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


ThreadingHTTPServer(("127.0.0.1", 9001), Receiver).serve_forever()
