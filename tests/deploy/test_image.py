"""The listener's image: what is in it, and how it runs under the restrictions of a cluster."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from tests.support.container_images import BASE, IMAGE, Podman, missing_programs
from tests.support.listener_process import ACCOUNT, PASSWORD, PATH_TOKEN, USERNAME, build_text_callback
from tests.support.waiting import time_limit

if TYPE_CHECKING:
    from typing_extensions import Self

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(missing_programs()), reason=f"needs {', '.join(missing_programs())}"),
]
MAX_UNPACKED_BYTES = 150_000_000
USER = "4711:4711"  # in no password file of the image
VARIABLES = {
    "ACCOUNTS": ACCOUNT,
    "USERNAME": USERNAME,
    "HOST": "127.0.0.1",
    "ADMIN_HOST": "127.0.0.1",
    "PORT": "0",
    "ADMIN_PORT": "0",
}
SECRETS = {"PASSWORD": PASSWORD, "PATH_TOKEN": PATH_TOKEN}
RESTRICTIONS = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=128m",
    f"--user={USER}",
    "--network=host",
    "--unsetenv=HOME",
    "--env=LC_ALL=POSIX",
)


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    podman = Podman(tmp_path_factory.mktemp("containers"))
    podman.import_base()
    podman.build()
    yield podman
    podman.close()


class Container:
    """A listener in a container, with its store in a folder of this machine."""

    def __init__(self, podman: Podman, folder: Path, *options: str) -> None:
        self._podman = podman
        self.name = f"listener-{folder.name}"
        (folder / "store").mkdir(exist_ok=True)
        (folder / "store").chmod(0o777)
        command = [
            *("podman", "run", "--rm", "--name", self.name, *RESTRICTIONS),
            f"--volume={folder / 'store'}:/var/lib/thingspace",
            "--env=THINGSPACE_LISTENER_STORE=sqlite:////var/lib/thingspace/inbox.sqlite3",
            *(f"--env=THINGSPACE_LISTENER_{name}={value}" for name, value in VARIABLES.items()),
        ]
        for name, value in SECRETS.items():
            (folder / name).write_text(f"{value}\n")
            command += [
                f"--volume={folder / name}:/run/secrets/{name}:ro",
                f"--env=THINGSPACE_LISTENER_{name}_FILE=/run/secrets/{name}",
            ]
        self.process = subprocess.Popen(
            [*command, *options, IMAGE, "--json"], env=podman.environment, stdout=subprocess.PIPE, text=True
        )

    def wait_until_ready(self) -> str:
        """Return the URL that the listener prints when it is ready."""
        assert self.process.stdout
        with time_limit(self.process):
            return str(json.loads(self.process.stdout.readline())["url"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(30)
        assert self.process.stdout
        self.process.stdout.close()

    def stop(self) -> int:
        """Send SIGTERM to process 1 and return its exit status."""
        self._podman.run("podman", "kill", "--signal", signal.SIGTERM.name, self.name)
        return self.process.wait(30)


def test_image_has_labels_and_a_numeric_user_and_is_small(podman: Podman) -> None:
    image, base = podman.inspect(IMAGE), podman.inspect(BASE)
    assert image["Config"]["User"] == "10001:10001"
    labels = image["Config"]["Labels"]
    assert {"title", "description", "licenses", "version", "revision", "created"} <= {
        name.removeprefix("org.opencontainers.image.") for name in labels
    }
    assert image["Size"] - base["Size"] < MAX_UNPACKED_BYTES


def test_image_has_the_locked_packages_without_pulumi(podman: Podman) -> None:
    listing = "import importlib.metadata as m; print(*(d.name.lower().replace('-', '_') for d in m.distributions()))"
    printed = podman.run("podman", "run", "--rm", "--network=none", "--entrypoint=python", IMAGE, "-c", listing)
    installed = set(printed.split())
    lock = Path("deploy/requirements.txt").read_text(encoding="utf-8")
    locked = {
        line.partition("==")[0].replace("-", "_") for line in lock.splitlines() if "==" in line and line[0] != " "
    }
    assert installed == locked | {"thingspace_provider"}
    assert not {name for name in installed if name.startswith(("pulumi", "grpc"))}


def test_listener_stores_callbacks_of_64_connections_when_the_container_is_restricted(
    podman: Podman, tmp_path: Path
) -> None:
    def send(number: int) -> list[int]:
        with requests.Session() as session:
            session.trust_env = False
            bodies = [build_text_callback(f"T={number}.{index}") for index in range(20)]
            return [session.post(url, json=body, timeout=30).status_code for body in bodies]

    with Container(podman, tmp_path) as container, ThreadPoolExecutor(64) as pool:
        url = f"{container.wait_until_ready()}/callbacks/{PATH_TOKEN}/{ACCOUNT}"
        statuses = [status for result in pool.map(send, range(64)) for status in result]
        assert container.stop() == 0
    assert statuses == [200] * 64 * 20
    [store] = [file for file in (tmp_path / "store").iterdir() if file.suffix == ".sqlite3"]
    assert store.stat().st_uid == int(USER.partition(":")[0])


def test_process_1_ends_at_sigterm_when_it_waits_for_the_database(podman: Podman, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts connections and sends nothing
        url = f"postgresql://u@127.0.0.1:{mute.getsockname()[1]}/d?connect_timeout=60"
        with Container(podman, tmp_path, f"--env=THINGSPACE_LISTENER_STORE={url}") as container:
            connection, _ = mute.accept()
            assert container.stop() == 128 + signal.SIGTERM
            connection.close()


def test_missing_settings_are_reported_with_their_variables(podman: Podman) -> None:
    done = subprocess.run(
        ["podman", "run", "--rm", *RESTRICTIONS, IMAGE],
        env=podman.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "set store in the settings file or THINGSPACE_LISTENER_STORE in the environment" in done.stderr
