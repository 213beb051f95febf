"""Rules, dashboard, guide and runbook name the same alerts, and only metrics that a listener exports."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.test_rules import ALERTS, GROUPS, RULES, needs_promtool
from tests.support.listener_process import ListenerProcess
from tests.support.webhook_receiver import Receiver

TOP = ALERTS.parent.parent.parent
DASHBOARD: dict[str, Any] = json.loads((ALERTS.parent / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
GUIDE = (TOP / "docs" / "monitoring.md").read_text(encoding="utf-8")
RUNBOOK = (TOP / "docs" / "alerts.md").read_text(encoding="utf-8")
BLOCKS = [
    yaml.safe_load(re.sub(r"^   ", "", block, flags=re.MULTILINE))
    for block in re.findall(r"   ```yaml\n(.*?)   ```", GUIDE, flags=re.DOTALL)
]
BLACKBOX, PROMETHEUS, PROBE = BLOCKS
EXTERNAL = {"probe_success", "probe_ssl_earliest_cert_expiry"}  # of the blackbox exporter
METRIC = re.compile(r"(?<![:\w])(?:thingspace|process|probe)_[a-z_]+")  # not the results of recording rules
Start = Callable[..., ListenerProcess]


def test_rules_and_dashboard_use_metrics_that_a_listener_exports(start: Start, receiver: Receiver) -> None:
    sink = {"name": "hub", "kind": "http", "url": receiver.url, "signingSecrets": ["whsec_" + "a" * 44]}
    exported = set(re.findall(r"^([a-z_]+)[ {]", start(sinks=[sink]).get("/metrics").text, flags=re.MULTILINE))
    expressions = [rule["expr"] for group in GROUPS for rule in group["rules"]]
    expressions += [target["expr"] for panel in PANELS for target in panel["targets"]]
    expressions += [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"][1:]]
    used = {name for expression in expressions for name in METRIC.findall(expression)}
    assert used - exported - EXTERNAL == set()
    assert len(used) > 20
    exported, used = ({re.sub("_(bucket|sum|count)$", "", name) for name in names} for names in (exported, used))
    guides = [(TOP / "docs" / name).read_text(encoding="utf-8") for name in ("listener.md", "forwarding.md")]
    documented = set(re.findall(r"`((?:thingspace|process)_[a-z_]+)`", "".join([*guides, GUIDE, RUNBOOK])))
    assert documented - exported == set()
    assert documented - used == {"thingspace_messages_purged_total", "thingspace_callbacks_unexpected_source_total"}
    assert {name for name in exported if name.startswith("thingspace_") and not name.endswith("_created")} <= documented


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    headings = re.findall(r"^## (ThingSpace\w+)$", RUNBOOK, flags=re.MULTILINE)
    assert sorted(headings) == sorted(RULES)
    for heading in headings:
        section = RUNBOOK.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        parts = re.findall(r"^- \*\*(.*?):\*\*", section, flags=re.MULTILINE)
        assert parts == ["Meaning", "If nothing is done", "Confirm", "Fix", "Over"], heading


@pytest.mark.parametrize("alert", RULES)
def test_alert_has_a_severity_a_runbook_and_a_row_in_the_guide(alert: str) -> None:
    rule = RULES[alert]
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{alert.lower()}"
    assert f"| [{alert}](alerts.md#{alert.lower()}) | {rule['labels']['severity']} | " in GUIDE
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_commands_of_the_guide_load_the_same_rules_with_other_runbook_addresses() -> None:
    [copy] = re.findall(r"\$ (sed .*) > thingspace-alerts.yml", GUIDE)
    [convert] = re.findall(r"\$ (awk .*) \| kubectl -n sms apply -f -", GUIDE)
    copied, converted = (
        yaml.safe_load(
            subprocess.run(["sh", "-c", command], cwd=TOP, capture_output=True, text=True, check=True).stdout
        )
        for command in (copy, convert)
    )
    assert (converted["apiVersion"], converted["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert converted["spec"] == copied
    base = "https://git.example.com/sms/blob/main/"
    assert json.loads(json.dumps(copied).replace(base, "")) == {"groups": GROUPS}
    assert json.dumps(copied).count(f'"{base}docs/alerts.md#') == len(RULES)


@needs_promtool
def test_configuration_of_prometheus_in_the_guide_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump({**PROMETHEUS, "rule_files": [str(ALERTS)]}))
    checked = subprocess.run(["promtool", "check", "config", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(not shutil.which("prometheus-blackbox-exporter"), reason="needs prometheus-blackbox-exporter")
def test_module_of_the_blackbox_exporter_in_the_guide_is_valid_and_is_the_one_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "blackbox.yml"
    file.write_text(yaml.safe_dump(BLACKBOX))
    command = ["prometheus-blackbox-exporter", "--config.check", f"--config.file={file}"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    [module] = BLACKBOX["modules"]
    job = PROMETHEUS["scrape_configs"][1]
    assert job["params"]["module"] == [module] == [PROBE["spec"]["module"]]
    assert f'job="{job["job_name"]}"' in RULES["ThingSpaceCallbackUrlUnreachable"]["expr"]
    assert PROBE["spec"]["jobName"] == job["job_name"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_panel_has_a_description_a_unit_and_the_data_source_of_the_variable(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert set(re.findall(r"\$(?!__rate_interval\b)\w+", target["expr"])) in (
            {"$namespace", "$job", "$instance"},
            set() if "thingspace-callback-url" in target["expr"] else {"$namespace", "$job", "$instance"},
        )


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for position in [panel["gridPos"]]
        for x, y in itertools.product(
            range(position["x"], position["x"] + position["w"]), range(position["y"], position["y"] + position["h"])
        )
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


def test_rows_of_the_dashboard_are_those_of_the_guide() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    table = GUIDE.partition("| Row | Question | Panels |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (\w+) \|", table, flags=re.MULTILINE) == rows


def test_variables_of_the_dashboard_list_what_is_scraped() -> None:
    source, *variables = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [variable["name"] for variable in variables] == ["namespace", "job", "instance"]
    for variable in variables:
        assert variable["query"]["query"] == variable["definition"]
        assert variable["definition"].startswith("label_values(thingspace_ready")
        assert variable["definition"].endswith(f", {variable['name']})")
        assert (variable["includeAll"], variable["allValue"]) == (True, ".*")
