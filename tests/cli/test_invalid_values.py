"""Any value in a stack file or from `pulumi config set` is accepted or rejected by name, never with a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thingspace_provider.cli.doctor_checks import configuration
from thingspace_provider.cli.doctor_checks.check import Check, Checks, run_guarded
from thingspace_provider.cli.doctor_checks.configuration import Configuration, ResolvedUser
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.config import stack_linter
from thingspace_provider.config.stack_schema import KNOWN_KEYS, NAMESPACE
from thingspace_provider.config.stack_settings import StackConfigError, StackSettings

T = TypeVar("T")

INVALID_VALUES = [
    *("yes", "~", "017", "1:30", "1_000", ".inf", "-.INF", ".nan", "1e400", "0x" + "f" * 6000, "9" * 6000, "-", "."),
    *("2026-03-01", "2026-13-45", "0000123456-00001", "https://[::1/api", "https://x:99999/api", "http://x:/{", "<<"),
    *("!!int ''", "!!bool maybe", "!!float x", "!!timestamp abc", "!!binary '####'", "!!set {a}", "!!omap [a]", "!x y"),
    *("{secure: x}", "{secure: [x]}", "{<<: x}", "{<<: {a: b}}", "? [a]", "{[a]: b}", "{.inf: b}", "&a [*a]", "*a"),
    *("'", "\t", "\x00", '"\\ud800"', '["\\ud800", "\\ud800"]', '{"\\ud800": 1}', '"\\U00110000"', '"\\UFFFFFFFF"'),
    *("x" * 10_000, "\ud800", "\U0001f600"),
]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.datetimes() | st.binary() | st.text()
)
WORDS = st.sampled_from(
    [
        *("local", "external", "kubernetes", "kind", "url", "port", "readiness", "secure", "username", "baseUrl", "<<"),
        *("host", "store", "replicas", "ingress", "annotations", "settings", "recoveryCredentials", "sinks"),
    ]
)
VALUES = st.recursive(
    SCALARS | WORDS | st.sampled_from(INVALID_VALUES),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(WORDS | SCALARS, inside, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(KNOWN_KEYS))
THOROUGH = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Pulumi.yaml").write_text("name: odd\nruntime: python\n")


def lint_and_diagnose(content: str) -> None:
    """Do with a stack file what lint and doctor do."""
    file = Path("Pulumi.test.yaml")
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    for finding in stack_linter.lint_files([file])[0]:
        f"{finding.location}{finding.message}{finding.fix}".encode()
    secrets = Redactor()
    check = run_check(run_guarded("stack", configuration.run_checks("test", None, secrets), Configuration()))
    for profile in (None, "one", check.value("profile")):
        run_check(run_guarded("credentials", configuration.check_user(profile, check, secrets), ResolvedUser()))
    check.accounts()


def run_check(part: Checks[T]) -> T:
    """Run a part of the doctor and return its result."""

    def iterate_checks() -> Iterator[Check]:
        handed.append((yield from part))

    handed: list[T] = []
    for check in iterate_checks():
        assert "unexpected" not in check.detail
        check.detail.encode()
    return handed[0]


@THOROUGH
@given(st.dictionaries(KEYS, VALUES))
def test_any_value_in_a_stack_file_is_read_or_named(values: dict[str, Any]) -> None:
    lint_and_diagnose(yaml.dump({"config": {f"{NAMESPACE}:{key}": value for key, value in values.items()}}))


@pytest.mark.parametrize("odd", INVALID_VALUES, ids=range(len(INVALID_VALUES)))
def test_odd_yaml_in_a_stack_file_is_read_or_named(odd: str) -> None:
    for shape in (
        "{}",
        "[{}]",
        "{{kind: {}}}",
        "{{kind: external, url: {}}}",
        "{{kind: local, port: {}}}",
        "{{kind: kubernetes, store: {0}, replicas: {0}, ingress: {{annotations: {0}}}, settings: {0}}}",
    ):
        for value in (shape.format(odd), repr(shape.format(odd))):
            lint_and_diagnose("config:\n" + "".join(f"  {NAMESPACE}:{key}: {value}\n" for key in sorted(KNOWN_KEYS)))


@pytest.mark.parametrize("unit", ["[", '{"a": '], ids=["lists", "maps"])
@pytest.mark.parametrize(
    ("key", "times"), [("triggers", 100), ("triggers", 900), ("profiles", 900), ("profiles", 2000)]
)
def test_what_is_nested_too_deeply_is_read_or_named(key: str, times: int, unit: str) -> None:
    opened = unit * times
    closed = opened.replace('"a": ', "")[::-1].translate({ord("["): "]", ord("{"): "}"})
    for value in (opened, f"{opened}1{closed}"):
        lint_and_diagnose(f"config:\n  {NAMESPACE}:{key}: {value}\n")
        lint_and_diagnose(f"config:\n  {NAMESPACE}:{key}: '{value}'\n")


@pytest.mark.parametrize("content", ["%YAML 1." + "9" * 5000, "config:\n  '\\ud800': 1", 'config:\n  "\\ud800": 1'])
def test_what_no_yaml_begins_with_is_named(content: str) -> None:
    lint_and_diagnose(content)


@THOROUGH
@given(st.dictionaries(KEYS, st.text() | VALUES.map(repr) | st.sampled_from(INVALID_VALUES)))
def test_any_value_from_the_engine_is_read_or_rejected(values: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULUMI_CONFIG", json.dumps({f"{NAMESPACE}:{key}": value for key, value in values.items()}))
        try:
            StackSettings.load()
        except StackConfigError as error:
            str(error).encode()
