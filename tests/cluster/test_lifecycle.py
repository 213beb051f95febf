"""A listener on Kubernetes from the first deployment to the last: the engine, the plugin, pods, proxy and emulator."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.emulator_process import EmulatorProcess
from tests.support.existing_cluster import ExistingCluster, ExistingDatabase
from tests.support.kubernetes_project import KubernetesProject, stored_texts
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import wait_until
from thingspace_provider.api import ThingSpaceClient

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


def test_messages_of_three_accounts_arrive_and_destroy_leaves_nothing(
    project: KubernetesProject,
    target_cluster: Cluster | ExistingCluster,
    emulator: EmulatorProcess,
    postgres: PostgresServer | ExistingDatabase,
    thingspace: ThingSpaceClient,
) -> None:
    accounts = emulator.ready["accounts"]
    assert len(accounts) == 3
    for account in accounts:
        emulator.send_message(f"queued {account}", account)
    project.change()
    project.preview()
    project.up()
    for account in accounts:
        emulator.send_message(f"live {account}", account)
    expected = {f"{when} {account}" for when in ("queued", "live") for account in accounts}
    wait_until(lambda: set(stored_texts(postgres.url())) >= expected, 30, "all messages are stored", 0.2)
    assert dict(stored_texts(postgres.url())) == dict.fromkeys(expected, 1)

    calls = emulator.count_calls()
    assert calls["startCallbacks"] == 3
    project.up("--expect-no-changes")
    project.preview("--expect-no-changes")
    assert emulator.count_calls() == calls
    project.refresh()
    project.preview("--expect-no-changes")

    project.change(image=target_cluster.images["v2"])
    project.up()
    assert emulator.count_calls()["startCallbacks"] == 6  # once for each account
    assert {pod["spec"]["containers"][0]["image"] for pod in project.pods()} == {target_cluster.images["v2"]}
    project.change(replicas=3)
    project.up()
    assert len(project.pods()) == 3
    assert emulator.count_calls()["startCallbacks"] == 6  # the running version is the same

    project.destroy()
    assert project.managed_objects() == []
    assert [thingspace.list_callbacks(account) for account in accounts] == [[], [], []]
