"""Looks for secrets where none may be: in files, in what was printed, in the titles of processes."""

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

if TYPE_CHECKING:
    from typing_extensions import Self

SAMPLE_SECONDS = 0.1


def forms(secret: str) -> set[bytes]:
    """The secret as it is, and as URLs, JSON, hexadecimal and base64 (at any place of what is encoded) write it."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), quote_plus(secret).encode(), json.dumps(secret)[1:-1].encode()}
    found |= {raw.hex().encode(), raw.hex().upper().encode()}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        own = encoded[-(-before * 4 // 3) : (before + len(raw)) * 4 // 3]  # characters that nothing else has a part in
        found |= {own, own.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


class Secrets:
    """Secrets by a name that may be shown."""

    def __init__(self, **secrets: str) -> None:
        self._forms: dict[str, set[bytes]] = {}
        self.add(**secrets)

    def add(self, **secrets: str) -> None:
        """Take more of them into account; one that is not set is none."""
        for name, secret in secrets.items():
            if secret:
                assert len(secret) >= 8, f"{name} is too short to be looked for"
                self._forms.setdefault(name, set()).update(forms(secret))

    def within(self, content: bytes) -> set[str]:
        """Names of the secrets in it."""
        return {name for name, forms in self._forms.items() if any(form in content for form in forms)}

    def in_files(self, folder: Path, allowed: Mapping[str, Iterable[str]]) -> list[str]:
        """ "FILE: NAME" for each secret in a file of the folder.

        Args:
            folder: searched to the bottom; links are not followed.
            allowed: names of secrets by a pattern of the files that may hold them.
        """
        leaks = []
        for file in sorted(folder.rglob("*")):
            if file.is_symlink() or not file.is_file():
                continue
            place = str(file.relative_to(folder))
            may_hold = {name for pattern, names in allowed.items() if fnmatch(place, pattern) for name in names}
            leaks += [f"{place}: {name}" for name in sorted(self.within(file.read_bytes()) - may_hold)]
        return leaks


class ProcessTitles:
    """The command lines of all processes that this user may see, for as long as the `with` lasts."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

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
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                self._note(process)

    def _note(self, process: Path) -> None:
        try:
            self._seen.add((process / "cmdline").read_bytes())
        except OSError:
            return  # it has ended
