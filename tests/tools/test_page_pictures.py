"""Pictures of the web pages are made by one command, and are small."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
NAMES = ["emulator-page.png", "inbox-page.png"]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed; run: apt-get install chromium")
def test_command_makes_both_pictures(tmp_path: Path) -> None:
    subprocess.run([sys.executable, TOP / "tools" / "page_pictures.py", tmp_path], check=True, timeout=120)
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_picture_in_the_documents_is_small(name: str) -> None:
    content = (TOP / "docs" / "images" / name).read_bytes()
    assert len(content) < 150_000
    assert struct.unpack(">II", content[16:24]) == (1280, 720)
