"""Messages under load while pods, credentials, nodes and the database change."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.emulator_load import EmulatorLoad, Phase, Phases
from tests.support.emulator_process import EmulatorProcess
from tests.support.ingress_controller import IngressController
from tests.support.kubernetes_project import KubernetesProject, fetch_messages
from tests.support.postgres_server import PostgresServer
from tests.support.pulumi_project import TOP
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
MESSAGES_PER_SECOND = 500
REPEATED_MESSAGES = 100
MAX_SECONDS = 2.0
REPORT = TOP / "build" / "cluster-load.json"


def test_no_acknowledged_message_is_lost_when_everything_changes_under_load(
    project: KubernetesProject,
    own_cluster: Cluster,
    emulator: EmulatorProcess,
    postgres: PostgresServer,
    ingress_controller: IngressController,
) -> None:
    own_cluster.add_node()
    project.change()
    project.up()
    phases = Phases(ingress_controller.access_log, project.host)
    load = EmulatorLoad(emulator, MESSAGES_PER_SECOND)
    try:
        with phases.phase("no change", 5):
            copies = {"operation": "delivery", "duplicate": 1, "times": REPEATED_MESSAGES}
            emulator.control("POST", "faults", copies)
        with phases.phase("roll-out"):
            project.change(image=own_cluster.images["v2"])
            project.up()
        with phases.phase("rotation"):
            project.change(rotation=2)
            project.up()
        with phases.phase("drain"):
            node = project.pods()[0]["spec"]["nodeName"]
            own_cluster.kubectl("drain", node, "--timeout=60s", seconds=90)
            wait_for_ready_pods(project, own_cluster, 2)
            own_cluster.kubectl("uncordon", node)
        with phases.phase("scale"):
            for replicas in (4, 2):
                project.change(replicas=replicas)
                project.up()
        with phases.phase("kill"):
            kill_listener(project.pods()[0]["metadata"]["uid"])
            wait_until(lambda: restarts(project) == 1, 30, "the container has restarted", 0.2)
            wait_for_ready_pods(project, own_cluster, 2)
        with phases.phase("database", 4):
            postgres.stop()
            postgres.start()
            wait_for_ready_pods(project, own_cluster, 2)
    finally:
        load.end()
    wait_until_idle(emulator)
    queued = sum(emulator.count_queued(account) for account in emulator.ready["accounts"])
    project.change(triggers=["drain the queue"])
    project.up()
    wait_until_idle(emulator)

    check_stored(load.sent, queued, postgres, results := phases.results())
    by_name = {phase.name: phase for phase in results}
    for name in ("no change", "roll-out", "rotation", "drain", "scale"):
        assert by_name[name].failed == 0, results
    # 502 until kube-proxy removes the killed pod. 503 while there is no database, then 502 if no pod is ready.
    assert set(by_name["kill"].statuses) <= {200, 502}, results
    assert set(by_name["database"].statuses) <= {200, 502, 503}, results
    assert max(phase.slowest_seconds for phase in results) < MAX_SECONDS, results


def check_stored(sent: int, queued: int, postgres: PostgresServer, results: list[Phase]) -> None:
    """Write the figures to the build folder and check that each message is stored once, apart from duplicates."""
    stored = fetch_messages(postgres.url())
    duplicates = len(stored) - sent
    figures = {"sent": sent, "queued": queued, "duplicates": duplicates}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps([figures, *map(vars, results)], indent=1))
    originals = [request_id for _, request_id, is_duplicate in stored if not is_duplicate]
    assert len(originals) == len(set(originals)) == sent  # nothing is lost, and each repetition is marked
    assert duplicates >= REPEATED_MESSAGES


def wait_until_idle(emulator: EmulatorProcess) -> None:
    wait_until(lambda: emulator.control("GET", "idle", timeoutSeconds="5")["idle"], 90, "the emulator is idle")


def wait_for_ready_pods(project: KubernetesProject, cluster: Cluster, count: int) -> None:
    def are_ready() -> bool:
        [deployment] = project.objects("deployments")
        return bool(deployment["status"].get("readyReplicas") == count == len(project.pods()))

    cluster.wait_for(are_ready, 60, f"{count} pods are ready")


def restarts(project: KubernetesProject) -> int:
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in project.pods())


def kill_listener(pod: str) -> None:
    """Kill the listener's process in a pod with SIGKILL."""
    for entry in Path("/proc").glob("[0-9]*"):
        if pod in (entry / "cgroup").read_text() and b"listener" in (entry / "cmdline").read_bytes():
            os.kill(int(entry.name), signal.SIGKILL)
            return
    pytest.fail(f"no process of pod {pod}")
