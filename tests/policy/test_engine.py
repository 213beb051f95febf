"""The policy pack in `pulumi preview` and `pulumi up`, started by the real engine."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policy.__main__ import RULES
from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, EmulatorProcess
from tests.support.policy_pack import PACK
from tests.support.pulumi_project import CommandResult, Project
from tools.cluster.build import CACHE as CLUSTER_CACHE

HEAD = """
import pulumi
from thingspace_provider import *

credential = CallbackCredential("credential")
protected = pulumi.ResourceOptions(protect=True)
"""
GOOD = f"""
listener = ExternalListener(url="https://sms.example.com/{{path_token}}/{{account}}", credential=credential)
SmsCallbacks("sms", account_names=["{ACCOUNT}"], listener=listener, credential=credential, opts=protected)
pulumi.export("credential", credential.listener_settings)
"""
LOCAL = f"""
local = LocalListener("local", account_names=["{ACCOUNT}"], credential=credential)
SmsCallbacks("sms", account_names=["{ACCOUNT}"], listener=local, credential=credential, opts=OPTIONS)
"""
KUBERNETES = f"""
import pulumi_kubernetes

rendering = pulumi.ResourceOptions(provider=pulumi_kubernetes.Provider("yaml", render_yaml_to_directory="yaml"))


def listener(name, store):
    options = dict(image="example.com/listener:1", host=f"{{name}}.example.com", account_names=["{ACCOUNT}"])
    return KubernetesListener(name, credential=credential, store=store, opts=rendering, **options)


listener("volume", SqliteVolume())
replicated = listener("database", pulumi.Output.secret("postgresql://sms:hunter2@db/sms"))
SmsCallbacks("sms", account_names=["{ACCOUNT}"], listener=replicated, credential=credential, opts=protected)
"""
BAD = f"""
LocalListener("local", account_names=["{OTHER_ACCOUNT}"], credential=credential)
plain = ExternalListener(url="http://sms.example.com/{{account}}", readiness=False)
SmsCallbacks("sms", account_names=["{ACCOUNT}"], listener=plain, credential=credential, adopt=True, opts=protected)
CallbackRegistration("other", account_name="{OTHER_ACCOUNT}", url="https://sms.example.com/x")
pulumi.export("database", "postgresql://sms:hunter2@db/sms")
"""
STACK_FILE = f'config:\n  thingspace:accounts: ["{ACCOUNT}"]\n'


class PolicyProject(Project):
    """Project with a copy of the policy pack, as a company keeps it."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        super().__init__(folder, settings)
        self.pack = folder / "pack"
        shutil.copytree(PACK, self.pack, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
        (self.pack / ".venv").symlink_to(sys.prefix)

    def write(self, program: str) -> None:
        """Replace the program."""
        (self.folder / "__main__.py").write_text(HEAD + program)

    def check(self, command: str, config: dict[str, Any] | None = None, *, fails: bool = False) -> CommandResult:
        """Run `pulumi preview` or `pulumi up` with the pack."""
        arguments = ["--policy-pack", str(self.pack)]
        if config is not None:
            file = self.folder / "policy-config.json"
            file.write_text(json.dumps(config))
            arguments += ["--policy-pack-config", str(file)]
        flags = ["--yes", "--skip-preview"] if command in ("up", "destroy") else []
        return self.pulumi(command, *flags, *arguments, fails=fails)


@pytest.fixture
def project(tmp_path: Path, emulator: EmulatorProcess) -> Iterator[PolicyProject]:
    """Stack prod without configuration."""
    project = PolicyProject(tmp_path, emulator.environment)
    for file in (project.folder / "stacks").iterdir():
        file.unlink()
    project.init("prod")
    yield project
    project.stop_listeners()


def use_kubernetes_plugin(project: Project) -> None:
    """Let the project use the plugin that the cluster tests build."""
    plugins = sorted(CLUSTER_CACHE.glob("pulumi-kubernetes-*/bin/pulumi-resource-kubernetes"))
    if not plugins:
        pytest.skip("Pulumi's Kubernetes plugin is not built: run `make test-cluster` once")
    file = project.folder / "Pulumi.yaml"
    provider = json.dumps([{"name": "kubernetes", "path": str(plugins[-1].parent)}])
    file.write_text(f"{file.read_text()}plugins: {{providers: {provider}}}\n")


def find_violations(result: CommandResult) -> set[tuple[str, str, str, str]]:
    """Return level, policy, resource and finding of each violation in the output of the engine."""
    found = re.findall(r"- \[(\w+)\]  ([\w-]+)  \(\S+: (.*)\)\n +(.*)\n +(.*)\n", result.output)
    assert len(found) == len(re.findall(r"- \[(mandatory|advisory)\]", result.output)), result.output
    descriptions = {rule.name: rule.description for rule in RULES}
    for _, policy, _, description, _ in found:
        assert descriptions[policy] == description
    return {(level, policy, resource, finding) for level, policy, resource, _, finding in found}


@pytest.mark.long
def test_every_rule_reports_in_a_preview(project: PolicyProject) -> None:
    project.configure("thingspace:appSecret", "hunter2", "--plaintext")
    (project.folder / "stacks" / "Pulumi.live.yaml").write_text(STACK_FILE)
    project.write(BAD)
    result = project.check("preview", fails=True)
    sms, stack = f"sms-{ACCOUNT}", "thingspace-callbacks-prod"
    account_without_activation = f"Account {OTHER_ACCOUNT} has a registration and no activation."
    assert find_violations(result) == {
        ("mandatory", "callback-url", sms, "The callback URL has the scheme http, not https."),
        ("advisory", "readiness-probe", sms, "The readiness probe is switched off."),
        ("mandatory", "registration-password", "other", "The registration has no username and no password."),
        ("mandatory", "production-protect", "other", "The registration is not protected."),
        ("mandatory", "production-no-adopt", sms, "The registration has adopt=True."),
        (
            "mandatory",
            "production-durable-listener",
            "local",
            "A LocalListener is a process on the machine that runs Pulumi.",
        ),
        (
            "mandatory",
            "no-plaintext-credential",
            stack,
            "database holds a URL with a password and is not a secret.",
        ),
        ("mandatory", "no-plaintext-credential", "default", "thingspace:appSecret is not a secret."),
        ("mandatory", "one-activation-for-each-account", "other", account_without_activation),
        ("advisory", "account-in-one-stack", sms, f"Account {ACCOUNT} is in stacks/Pulumi.live.yaml too."),
    }
    assert "Fix: Remove adopt=True;" in result.output


def test_preview_succeeds_when_the_program_breaks_no_rule(project: PolicyProject) -> None:
    project.write(GOOD)
    result = project.check("preview")
    assert find_violations(result) == set()
    assert "thingspace-callbacks@v0.1.0" in result.output


@pytest.mark.long
def test_values_that_a_preview_does_not_know_are_checked_before_the_registration(
    project: PolicyProject, emulator: EmulatorProcess
) -> None:
    project.write(LOCAL.replace("OPTIONS", "protected"))
    config = {"production-durable-listener": "disabled"}
    assert find_violations(project.check("preview", config)) == set()
    finding = "The callback URL leads to a private address or to the machine that runs Pulumi."
    result = project.check("up", config, fails=True)
    assert find_violations(result) == {("mandatory", "callback-url", f"sms-{ACCOUNT}", finding)}
    assert emulator.count_calls()["registerCallback"] == 0


@pytest.mark.long
def test_leaked_output_is_found_by_its_value_when_it_is_known(project: PolicyProject) -> None:
    project.init("dev")
    project.write(
        LOCAL.replace("OPTIONS", "None") + 'pulumi.export("note", pulumi.Output.unsecret(credential.password))\n'
    )
    finding = "note holds a credential of this stack and is not a secret."
    for command in ("up", "preview"):
        result = project.check(command, fails=True)
        expected = ("mandatory", "no-plaintext-credential", "thingspace-callbacks-dev", finding)
        assert find_violations(result) == {expected}


@pytest.mark.long
def test_resources_that_are_renamed_or_deleted_cause_no_violation(project: PolicyProject) -> None:
    project.init("dev")
    project.write(LOCAL.replace("OPTIONS", "None"))
    project.check("up")
    alias = 'pulumi.ResourceOptions(aliases=[pulumi.Alias(name="sms")])'
    project.write(LOCAL.replace("OPTIONS", alias).replace('"sms"', '"renamed"', 1))
    result = project.check("preview")
    assert (find_violations(result), "create" in result.changes, "delete" in result.changes) == (set(), False, False)
    project.write("")
    assert find_violations(project.check("up")) == set()


@pytest.mark.long
def test_two_components_with_listeners_of_their_own_cause_no_violation(project: PolicyProject) -> None:
    second = GOOD.replace("listener = ", "second = ").replace("listener=listener", "listener=second")
    second = second.replace('"sms"', '"second"').replace(ACCOUNT, OTHER_ACCOUNT).replace('"credential"', '"again"')
    project.write(GOOD + second)
    assert find_violations(project.check("preview")) == set()


@pytest.mark.long
def test_options_are_validated_by_the_engine(project: PolicyProject) -> None:
    project.write(GOOD)
    for policy, options, error in (
        ("production-protect", {"productionStacks": "("}, "productionStacks: Does not match format 'regex'"),
        ("account-in-one-stack", {"owners": {ACCOUNT: "prod"}}, "Does not match pattern"),
        (
            "readiness-probe",
            {"exemptAccounts": [1]},
            "exemptAccounts.0: Invalid type. Expected: string, given: integer",
        ),
        ("callback-url", {"developmentStack": "x"}, "policy callback-url has no option developmentStack"),
        ("callback-url", "strict", "not a valid enforcement level"),
    ):
        assert error in project.check("preview", {policy: options}, fails=True).output


@pytest.mark.long
def test_stack_without_resources_of_the_provider_has_no_violation(project: PolicyProject) -> None:
    (project.folder / "__main__.py").write_text('import pulumi\npulumi.export("password", "hunter2")\n')
    assert find_violations(project.check("preview")) == set()


@pytest.mark.long
def test_kubernetes_listener_is_reported_when_it_stores_on_a_volume(project: PolicyProject) -> None:
    use_kubernetes_plugin(project)
    project.write(KUBERNETES)
    finding = "A KubernetesListener has one replica with SQLite on a volume."
    assert find_violations(project.check("preview", fails=True)) == {
        ("mandatory", "production-durable-listener", "volume", finding)
    }


@pytest.mark.long
@pytest.mark.parametrize("stack", ["dev", "staging", "prod"])
def test_shipped_stack_has_no_violation(tmp_path: Path, emulator: EmulatorProcess, stack: str) -> None:
    project = PolicyProject(tmp_path, emulator.environment)
    project.init(stack)
    if stack != "dev":
        use_kubernetes_plugin(project)
        project.configure("kubernetes:renderYamlToDirectory", "yaml")
    assert find_violations(project.check("preview")) == set()
