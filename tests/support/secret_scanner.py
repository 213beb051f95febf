"""Scanner for secrets in files, output and process titles."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from tests.support.waiting import join_thread

if TYPE_CHECKING:
    from typing_extensions import Self

SAMPLE_INTERVAL_SECONDS = 0.1


def list_encodings(secret: str) -> set[bytes]:
    """Return the secret and its encodings in URLs, JSON, hexadecimal and base64 at any offset."""
    raw = secret.encode()
    encodings = {raw, quote(secret, safe="").encode(), quote_plus(secret).encode(), json.dumps(secret)[1:-1].encode()}
    encodings |= {raw.hex().encode(), raw.hex().upper().encode()}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        own = encoded[-(-before * 4 // 3) : (before + len(raw)) * 4 // 3]  # characters that depend on the secret alone
        encodings |= {own, own.translate(bytes.maketrans(b"+/", b"-_"))}
    return encodings


class SecretScanner:
    """Secrets by names that can be printed."""

    def __init__(self, **secrets: str) -> None:
        self._encodings: dict[str, set[bytes]] = {}
        self.add(**secrets)

    def add(self, **secrets: str) -> None:
        """Add secrets; empty ones are ignored."""
        for name, secret in secrets.items():
            if secret:
                assert len(secret) >= 8, f"{name} is too short to be looked for"
                self._encodings.setdefault(name, set()).update(list_encodings(secret))

    def find_in(self, content: bytes) -> set[str]:
        """Return the names of the secrets in the content."""
        return {name for name, encodings in self._encodings.items() if any(form in content for form in encodings)}

    def quote_from(self, content: bytes) -> list[str]:
        """Return "NAME: TEXT AROUND IT" for each secret in the content."""
        return [
            f"{name}: …{content[max(0, at - 400) : at + 200]!r}…"
            for name, encodings in self._encodings.items()
            for at in [content.find(form) for form in encodings]
            if at >= 0
        ]

    def find_in_files(self, folder: Path, allowed: Mapping[str, Iterable[str]]) -> list[str]:
        """ "FILE: NAME" for each secret in a file of the folder.

        Args:
            folder: searched to the bottom; links are not followed.
            allowed: names of secrets by a pattern of the files that may hold them.
        """
        leaks = []
        for file in sorted(folder.rglob("*")):
            if file.is_symlink() or not file.is_file():
                continue
            path = str(file.relative_to(folder))
            may_hold = {name for pattern, names in allowed.items() if fnmatch(path, pattern) for name in names}
            leaks += [f"{path}: {name}" for name in sorted(self.find_in(file.read_bytes()) - may_hold)]
        return leaks


class ProcessTitles:
    """Recorder of the command lines of all visible processes during the block."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    @property
    def seen(self) -> bytes:
        return b"\n".join(self._seen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        join_thread(self._thread)

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_INTERVAL_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                self._record(process)

    def _record(self, process: Path) -> None:
        try:
            self._seen.add((process / "cmdline").read_bytes())
        except OSError:
            return  # the process has ended
