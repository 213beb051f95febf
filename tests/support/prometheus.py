"""Prometheus server of a test, with the project's rules; it scrapes the listeners that a test adds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.support.listener_process import ListenerProcess, reserve_port
from tests.support.waiting import wait_until

RULES = Path(__file__).resolve().parent.parent.parent / "deploy" / "monitoring" / "alerts.yml"
START_SECONDS = 30


def get_skip_reason() -> str:
    """Return why no server can start on this machine, or an empty string."""
    if shutil.which("prometheus") and shutil.which("promtool"):
        return ""
    return "Prometheus is NOT TESTED here: install it (apt-get install prometheus)"


class Prometheus:
    """Server that runs after construction. Stop it with `stop`.

    It scrapes and evaluates at each interval. Alerts fire at once: the rules are those of the project without `for`.

    Args:
        folder: Empty folder for its data.
        scrape_configs: Further scrape configurations.
        interval_seconds: Time between two scrapes of a target.
    """

    def __init__(
        self, folder: Path, scrape_configs: list[dict[str, Any]] | None = None, interval_seconds: float = 0.5
    ) -> None:
        self._targets = folder / "targets.json"
        self._groups: dict[str, dict[str, Any]] = {}
        self._write_targets()
        (folder / "alerts.yml").write_text(re.sub(r"^ +for: .*\n", "", RULES.read_text(), flags=re.MULTILINE))
        interval = f"{round(interval_seconds * 1000)}ms"
        listeners = {"job_name": "listeners", "file_sd_configs": [{"files": [str(self._targets)]}]}
        configuration = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [listeners, *(scrape_configs or [])],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        port = reserve_port()
        self._url = f"http://127.0.0.1:{port}"
        self._log = folder / "prometheus.log"
        options = {
            "config.file": folder / "prometheus.yml",
            "storage.tsdb.path": folder / "data",
            "web.listen-address": f"127.0.0.1:{port}",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["prometheus", *(f"--{name}={value}" for name, value in options.items())], stdout=log, stderr=log
            )
        wait_until(self._is_ready, START_SECONDS, "Prometheus is ready")

    def add(self, listener: ListenerProcess, job: str, namespace: str = "sms") -> None:
        """Scrape a listener from now on."""
        target = listener.admin_url.removeprefix("http://")
        self._groups[target] = {"targets": [target], "labels": {"job": job, "namespace": namespace}}
        self._write_targets()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query, each with `metric` and `value`."""
        response = requests.get(f"{self._url}/api/v1/query", params={"query": expression}, timeout=10)
        assert response.ok, f"{expression}: {response.text}"
        return list(response.json()["data"]["result"])

    def value(self, expression: str) -> float | None:
        """Return the value of the only sample of a query, None without one."""
        samples = self.query(expression)
        assert len(samples) <= 1, samples
        return float(samples[0]["value"][1]) if samples else None

    def firing(self, **labels: str) -> dict[str, dict[str, Any]]:
        """Return the firing alerts with these labels by their name; each has `labels` and `annotations`."""
        response = requests.get(f"{self._url}/api/v1/alerts", timeout=10)
        return {
            alert["labels"]["alertname"]: alert
            for alert in response.json()["data"]["alerts"]
            if alert["state"] == "firing" and alert["labels"].items() >= labels.items()
        }

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return requests.get(f"{self._url}/-/ready", timeout=10).ok
        except requests.ConnectionError:
            return False

    def _write_targets(self) -> None:
        written = self._targets.with_suffix(".new")
        written.write_text(json.dumps(list(self._groups.values())))
        written.rename(self._targets)
