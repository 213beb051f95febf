"""A listener with SQLite on a volume."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.emulator_process import EmulatorProcess
from tests.support.ingress_controller import IngressController
from tests.support.kubernetes_project import KubernetesProject
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture
def project(
    own_cluster: Cluster,
    ingress_controller: IngressController,  # noqa: ARG001  it serves the URL
    emulator: EmulatorProcess,
    tmp_path: Path,
) -> Iterator[KubernetesProject]:
    project = KubernetesProject(tmp_path, own_cluster, emulator, None)
    yield project
    project.close()
    assert own_cluster.warnings == []


def test_messages_stay_on_the_volume_when_the_pod_is_deleted(
    project: KubernetesProject, own_cluster: Cluster, emulator: EmulatorProcess, volume: Path
) -> None:
    project.change()
    project.up()
    emulator.send_message("before")
    wait_until(lambda: read_texts(volume) == ["before"], 30, "the message is stored", 0.2)
    [pod] = project.pods()
    own_cluster.kubectl("delete", "pod", pod["metadata"]["name"], f"--namespace={project.namespace}")
    emulator.send_message("after")  # ThingSpace sends it again or queues it
    own_cluster.kubectl(
        "wait", "pod", "--for=condition=Ready", "--selector=app.kubernetes.io/name=thingspace-listener",
        f"--namespace={project.namespace}", "--timeout=60s", seconds=90,
    )  # fmt: skip
    project.change(triggers=["drain the queue"])
    project.up()
    wait_until(lambda: set(read_texts(volume)) == {"before", "after"}, 30, "both messages are stored", 0.2)

    project.change(replicas=2)
    failed = project.up(fails=True)
    assert "replicas" in failed.output
    assert "SQLite" in failed.output
    assert len(project.pods()) == 1

    project.change(replicas=1)
    project.destroy()
    assert project.managed_objects() == []
    assert set(read_texts(volume)) == {"before", "after"}  # the only copy of acknowledged messages


def read_texts(volume: Path) -> list[str]:
    """Return the stored messages by their text, or none if there is no store yet."""
    files = [*volume.glob("inbox.sqlite3")]
    if not files:
        return []
    with closing(sqlite3.connect(f"file:{files[0]}?mode=ro", uri=True)) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM messages ORDER BY id")]
