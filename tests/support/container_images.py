"""The listener's image, built by podman on a base from Debian's packages.

The Containerfile asks for `python:3.13-slim`. Without a registry of images, the tests give that name to Debian's own
Python 3.13. It has the same command `python`, and another C library's build.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from thingspace_provider.common.file_lock import FileLock

TOP = Path(__file__).resolve().parent.parent.parent
BASE = "docker.io/library/python:3.13-slim"
IMAGE = "thingspace-provider:test"
PROGRAMS = ("podman", "runc", "mmdebstrap")
MACHINE_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")  # how this machine reaches its package registry
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
STORAGE_CONF = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


def missing_programs() -> list[str]:
    """Return the programs that are needed and not installed, or "root"."""
    return [name for name in PROGRAMS if not shutil.which(name)] + ([] if os.geteuid() == 0 else ["root"])


class Podman:
    """Podman with images and containers in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "containers.conf").write_text(CONTAINERS_CONF)
        (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder))
        self.environment = os.environ | {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "IMAGE_BUILDER": "podman",
        }

    def run(self, *command: str, seconds: float = 60) -> str:
        """Run a command and return its output."""
        done = subprocess.run(
            command, env=self.environment, cwd=TOP, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def import_base(self) -> None:
        """Give Debian's Python the name of the base that the Containerfile asks for."""
        self.run("podman", "import", str(find_base()), BASE)

    def build(self, image: str = IMAGE, *options: str) -> None:
        """Build the image. The base must be imported."""
        volumes = [f"--volume={file}:{file}:ro" for file in MACHINE_FILES if Path(file).exists()]
        self.run("deploy/build-image", "-t", image, *volumes, *options, seconds=600)

    def inspect(self, image: str) -> dict[str, Any]:
        """Return what is known of an image."""
        [found] = json.loads(self.run("podman", "image", "inspect", image))
        return dict(found)

    def close(self) -> None:
        """Remove containers, images and mounts."""
        self.run("podman", "rm", "--all", "--force", "--time", "1")
        self.run("podman", "rmi", "--all", "--force")


def find_base() -> Path:
    """Return an archive of Debian with Python 3.13, made once for each user."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thingspace-provider" / "images"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / "debian-trixie-python.tar"
    lock = FileLock(cache / "lock")
    assert lock.acquire(300), "another process makes the base image"
    try:
        if not archive.exists():
            unfinished = cache / "unfinished.tar"
            subprocess.run(
                [
                    "mmdebstrap",
                    "--quiet",
                    "--variant=minbase",
                    "--include=python3,python3-venv,ca-certificates",
                    '--customize-hook=ln -s python3 "$1/usr/bin/python"',
                    "trixie",
                    str(unfinished),
                ],
                check=True,
                timeout=300,
            )
            unfinished.rename(archive)
    finally:
        lock.release()
    return archive
