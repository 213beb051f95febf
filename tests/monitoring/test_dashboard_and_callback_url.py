"""Dashboard and callback URL: a real Prometheus scrapes a listener under load, and a blackbox exporter in front of it.

The exporter has the module of the guide, Prometheus the job of the guide, and nginx the configuration of `deploy/`.
"""

from __future__ import annotations

import copy
import datetime as dt
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import requests
import trustme
import yaml

from tests.deploy.test_virtual_machine import HOST, prepare_nginx
from tests.monitoring.test_guide import BLACKBOX, PANELS, PROMETHEUS, RUNBOOK
from tests.support import prometheus
from tests.support.emulator_process import EmulatorProcess
from tests.support.forwarding_harness import build_sink
from tests.support.listener_process import ListenerProcess, reserve_port
from tests.support.load_senders import LoadSenders
from tests.support.prometheus import Prometheus
from tests.support.recovery_harness import build_recovery_settings
from tests.support.reverse_proxies import is_installed, run_proxy
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.long
CURLS = re.findall(r"\$ (curl .*sms\.example\.com.*)", RUNBOOK)
TARGETS = [(panel, target) for panel in PANELS for target in panel["targets"]]
RATE_INTERVAL = "5s"  # Grafana takes at least four scrape intervals


class CallbackUrl:
    """nginx with TLS in front of a listener. The blackbox exporter trusts its CA."""

    def __init__(self, folder: Path, backend: int) -> None:
        self._folder, self._backend, self.port = folder, backend, reserve_port()
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.url = f"https://{HOST}:{self.port}/callbacks/"

    @contextmanager
    def serve(self, days: float) -> Iterator[None]:
        """Serve with a certificate for some days."""
        expires_at = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=days)
        certificate = self._authority.issue_cert(HOST, not_after=expires_at)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self._folder / "certificate.pem"))
        with run_proxy(prepare_nginx(self._folder, self._backend, self.port), self.port, self._folder):
            yield


@contextmanager
def run_blackbox_exporter(folder: Path) -> Iterator[int]:
    """Run the exporter with the module of the guide and the CA of the folder; yield its port."""
    configuration = copy.deepcopy(BLACKBOX)
    configuration["modules"]["thingspace_callback"]["http"]["tls_config"] = {"ca_file": str(folder / "ca.pem")}
    (folder / "blackbox.yml").write_text(yaml.safe_dump(configuration))
    port = reserve_port()
    command = ["prometheus-blackbox-exporter", f"--config.file={folder / 'blackbox.yml'}"]
    with (folder / "blackbox.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "blackbox.log").read_text()
        try:
            return requests.get(f"http://127.0.0.1:{port}/-/healthy", timeout=10).ok
        except requests.ConnectionError:
            return False

    try:
        wait_until(is_ready, 30, "the blackbox exporter is ready")
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def watch_url(folder: Path, url: str) -> Iterator[Prometheus]:
    """Run Prometheus and the blackbox exporter as the guide tells."""
    if reason := prometheus.get_skip_reason():
        pytest.skip(reason)
    if not shutil.which("prometheus-blackbox-exporter") or not is_installed("nginx"):
        pytest.skip("needs prometheus-blackbox-exporter and nginx")
    with run_blackbox_exporter(folder) as exporter:
        job = copy.deepcopy(PROMETHEUS["scrape_configs"][1])
        job["static_configs"][0]["targets"] = [url]
        job |= {"scrape_interval": "2s", "scrape_timeout": "2s"}  # the exporter uses half a second less
        job["relabel_configs"][-1]["replacement"] = f"127.0.0.1:{exporter}"
        server = Prometheus(folder, [job])
        try:
            yield server
        finally:
            server.stop()


def run_as_operator(command: str, folder: Path, url: str) -> str:
    """Run a command of the runbook with this URL; return its output."""
    command = command.replace("https://sms.example.com/callbacks/", url)
    environment = {"PATH": os.environ["PATH"], "CURL_CA_BUNDLE": str(folder / "ca.pem")}
    ended = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
    return ended.stdout


def returns_numbers(server: Prometheus, expression: str) -> bool:
    """Tell whether a query has a result, without NaN."""
    samples = server.query(expression)
    return bool(samples) and not any(math.isnan(float(sample["value"][1])) for sample in samples)


def substitute(expression: str, **variables: str) -> str:
    """Replace the variables as Grafana does; the value "All" is `.*`."""
    for name, value in {"__rate_interval": RATE_INTERVAL, **variables}.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression
    return expression


def test_panels_of_the_dashboard_have_data_when_a_listener_is_under_load(
    tmp_path: Path, receiver: Receiver, any_port_emulator: EmulatorProcess
) -> None:
    recovery = build_recovery_settings(any_port_emulator, "history", recoveryIntervalSeconds=6)
    listener = ListenerProcess(tmp_path, sinks=[build_sink(receiver)], **recovery)
    callback_url = CallbackUrl(tmp_path, listener.port)
    try:
        with callback_url.serve(days=90), watch_url(tmp_path, callback_url.url) as server:
            server.add(listener, "listener")
            load = LoadSenders(listener, "load", connections=4)
            try:
                instance = listener.admin_url.removeprefix("http://")
                for variables in (
                    {"namespace": ".*", "job": ".*", "instance": ".*"},
                    {"namespace": "sms", "job": "listener", "instance": instance},
                ):
                    for panel, target in TARGETS:
                        expression = substitute(target["expr"], **variables)
                        has_data = partial(returns_numbers, server, expression)
                        wait_until(has_data, 60, f"{panel['title']}: {expression} has data", 0.2)
                        series = {label for sample in server.query(expression) for label in sample["metric"]}
                        in_legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                        assert series - {"__name__", "namespace", "job"} == in_legend, panel["title"]
                stored = 'sum(rate(thingspace_callbacks_stored_total{kind="text"}[5s]))'
                assert (server.value(stored) or 0) > 1
                assert server.value("min(probe_success)") == 1
                wait_until(lambda: server.firing() == {}, 60, "no alert fires")
            finally:
                load.end()
    finally:
        listener.kill()


def test_callback_url_that_is_unreachable_and_certificate_that_expires(tmp_path: Path) -> None:
    listener = ListenerProcess(tmp_path)
    callback_url = CallbackUrl(tmp_path, listener.port)
    try:
        with watch_url(tmp_path, callback_url.url) as server:

            def wait_for(*alerts: str) -> None:
                firing = server.firing
                wait_until(lambda: set(firing(instance=callback_url.url)) == set(alerts), 60, f"{alerts} fire", 0.2)

            with callback_url.serve(days=90):
                wait_until(lambda: server.value("probe_success") == 1, 60, "the URL is reachable")
                wait_for()
                response, expiry = (run_as_operator(command, tmp_path, callback_url.url) for command in CURLS)
                assert "404 " in response
                assert response.endswith("not found")
                assert "expire date" in expiry
            wait_for("ThingSpaceCallbackUrlUnreachable")
            with callback_url.serve(days=10):
                wait_for("ThingSpaceCertificateExpiring")
            with callback_url.serve(days=90):
                wait_for()
                listener.stop()  # nginx responds with 502
                wait_for("ThingSpaceCallbackUrlUnreachable")
    finally:
        listener.kill()
