"""Each rule of the policy pack, through its own process: a stack that passes, and one that fails."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from policy.__main__ import RULES
from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT
from tests.support.policy_pack import PACK, UNKNOWN, PolicyPack, Stack, StackResource, Violation, secret

FIRST, SECOND = f"sms-{ACCOUNT}", f"sms-{OTHER_ACCOUNT}"
PROD, DEV = Stack.load_production, Stack.load
Edit = Callable[[Stack], object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of the pack: a project with stack files."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "stacks").mkdir()
    (folder / "Pulumi.yaml").write_text("name: thingspace-callbacks\nruntime: python\nstackConfigDir: stacks\n")
    return folder


@pytest.fixture(scope="module")
def process(folder: Path) -> Iterator[PolicyPack]:
    with PolicyPack(folder) as process:
        yield process


@pytest.fixture
def pack(process: PolicyPack, folder: Path) -> PolicyPack:
    """Pack with default options, in a project without stack files."""
    for file in (folder / "stacks").iterdir():
        file.unlink()
    process.configure()
    return process


def registration(stack: Stack, index: int = 0) -> StackResource:
    return sorted(stack.of("CallbackRegistration"), key=lambda resource: resource.urn)[index]


def remove_credential(stack: Stack) -> None:
    registration(stack).remove("username")
    registration(stack).remove("password")


def activation(stack: Stack) -> StackResource:
    return next(resource for resource in stack.of("SmsCallbackActivation") if resource.name == FIRST)


def edit_url(url: Any) -> Edit:
    return lambda stack: registration(stack).set("url", url)


def edit_input(key: str, value: Any) -> Edit:
    return lambda stack: registration(stack).set(key, value)


def add_workload(kind: str, replicas: Any = 1) -> Edit:
    kind = f"kubernetes:apps/v1:{kind}"
    urn = f"urn:pulumi:prod::p::a:b:C$thingspace:index:KubernetesListener${kind}::listener"
    return lambda stack: stack.add(urn, kind, {"spec": {"replicas": replicas}})


def export(key: str, value: Any) -> Edit:
    return lambda stack: stack.resources[0].outputs.update({key: value})


def find_password(stack: Stack) -> str:
    return str(stack.of("CallbackCredential")[0].outputs["password"]["value"])


def leak_configuration(stack: Stack) -> None:
    stack.of("pulumi:providers:pulumi-python")[0].outputs["thingspace:appSecret"] = secret("app-secret-of-production")
    stack.resources[0].outputs["note"] = "key:app-secret-of-production"


def leak_into_config_map(stack: Stack) -> None:
    data = {"data": {"settings": f"password={find_password(stack)}"}}
    stack.add("urn:pulumi:prod::p::kubernetes:core/v1:ConfigMap::map", "kubernetes:core/v1:ConfigMap", data)


def configure_provider(key: str, value: str) -> Edit:
    return lambda stack: stack.of("pulumi:providers:pulumi-python")[0].outputs.update({key: value})


def describe(violation: Violation) -> tuple[str, str, str]:
    return violation.policy, violation.resource, violation.finding


SCHEME = "The callback URL has the scheme http, not https."
PRIVATE = "The callback URL leads to a private address or to the machine that runs Pulumi."
PORTS = "ThingSpace accepts 80, 443, 9001-9006, 28200-28220 and 50551-50559."
FAILING: list[tuple[str, Callable[[], Stack], Edit, str, str]] = [
    ("callback-url", PROD, edit_url("http://sms.example.com/x"), FIRST, SCHEME),
    ("callback-url", DEV, edit_url("http://sms.example.com/x"), FIRST, SCHEME),
    (
        "callback-url",
        PROD,
        edit_url("https://sms.example.com:8443/x"),
        FIRST,
        f"The callback URL has port 8443; {PORTS}",
    ),
    ("callback-url", PROD, edit_url("https://127.0.0.1/x"), FIRST, PRIVATE),
    ("callback-url", PROD, edit_url("https://[::1]/x"), FIRST, PRIVATE),
    ("callback-url", PROD, edit_url("https://localhost/x"), FIRST, PRIVATE),
    ("callback-url", PROD, edit_url("https://10.0.0.7/x"), FIRST, PRIVATE),
    ("callback-url", PROD, edit_url("https://sms.example.com:x/"), FIRST, "The callback URL is not a valid URL."),
    ("readiness-probe", PROD, edit_input("readiness", False), FIRST, "The readiness probe is switched off."),
    ("registration-password", PROD, edit_input("password", ""), FIRST, "The registration has no password."),
    ("registration-password", PROD, remove_credential, FIRST, "The registration has no username and no password."),
    (
        "production-protect",
        PROD,
        lambda stack: setattr(registration(stack), "protect", False),
        FIRST,
        "The registration is not protected.",
    ),
    ("production-no-adopt", PROD, edit_input("adopt", True), FIRST, "The registration has adopt=True."),
    (
        "production-durable-listener",
        PROD,
        lambda stack: stack.resources.append(Stack.load("prod").of("LocalListener")[0]),
        "listener",
        "A LocalListener is a process on the machine that runs Pulumi.",
    ),
    (
        "production-durable-listener",
        PROD,
        add_workload("StatefulSet"),
        "listener",
        "A KubernetesListener has one replica with SQLite on a volume.",
    ),
    (
        "production-durable-listener",
        PROD,
        add_workload("Deployment"),
        "listener",
        "A KubernetesListener has one replica.",
    ),
    (
        "no-plaintext-credential",
        PROD,
        lambda stack: registration(stack).set("password", "hunter2"),
        FIRST,
        "password is not a secret.",
    ),
    (
        "no-plaintext-credential",
        PROD,
        lambda stack: stack.of("CallbackCredential")[0].set("previousPasswords", ["hunter2"]),
        "credential",
        "previousPasswords.0 is not a secret.",
    ),
    (
        "no-plaintext-credential",
        PROD,
        export("dbUrl", "postgresql://sms:hunter2@db/sms"),
        "thingspace-callbacks-dev",
        "dbUrl holds a URL with a password and is not a secret.",
    ),
    (
        "no-plaintext-credential",
        PROD,
        lambda stack: stack.resources[0].outputs.update({"note": find_password(stack)}),
        "thingspace-callbacks-dev",
        "note holds a credential of this stack and is not a secret.",
    ),
    (
        "no-plaintext-credential",
        PROD,
        leak_configuration,
        "thingspace-callbacks-dev",
        "note holds a credential of this stack and is not a secret.",
    ),
    (
        "no-plaintext-credential",
        PROD,
        leak_into_config_map,
        "map",
        "data.settings holds a credential of this stack and is not a secret.",
    ),
    (
        "no-plaintext-credential",
        PROD,
        configure_provider("thingspace:appSecret", "hunter2"),
        "default",
        "thingspace:appSecret is not a secret.",
    ),
    (
        "no-plaintext-credential",
        PROD,
        configure_provider("thingspace:profiles", '{"plant_a": {"password": "hunter2"}}'),
        "default",
        "thingspace:profiles.plant_a.password is not a secret.",
    ),
    (
        "one-activation-for-each-account",
        PROD,
        lambda stack: stack.resources.remove(activation(stack)),
        FIRST,
        f"Account {ACCOUNT} has a registration and no activation.",
    ),
    (
        "one-activation-for-each-account",
        PROD,
        lambda stack: stack.copy(activation(stack), "again"),
        "again",
        f"{FIRST} activates account {ACCOUNT} too.",
    ),
    (
        "one-activation-for-each-account",
        PROD,
        lambda stack: stack.copy(registration(stack), "again"),
        "again",
        f"{FIRST} registers EnhancedConnectivityService of account {ACCOUNT} too.",
    ),
]


@pytest.mark.parametrize("load", [DEV, PROD])
def test_stack_of_the_engine_has_no_violation(pack: PolicyPack, load: Callable[[], Stack]) -> None:
    assert pack.analyze(load()) == []


@pytest.mark.parametrize(("rule", "load", "edit", "resource", "finding"), FAILING)
def test_rule_reports_resource_and_finding_when_broken(
    pack: PolicyPack, rule: str, load: Callable[[], Stack], edit: Edit, resource: str, finding: str
) -> None:
    stack = load()
    edit(stack)
    assert [*map(describe, pack.analyze(stack))] == [(rule, resource, finding)]


def test_message_has_description_finding_reason_and_fix(pack: PolicyPack) -> None:
    stack = PROD()
    registration(stack).set("adopt", True)
    [violation] = pack.analyze(stack)
    assert violation.message == (
        "A registration in production does not replace a foreign one.\n"
        "The registration has adopt=True.\n"
        "Reason: With adopt, an update does not stop at a registration that another program or person made.\n"
        "Fix: Remove adopt=True; in the stack file, remove thingspace:adopt. For a takeover, set it for one update."
    )
    assert violation.level == "MANDATORY"


def test_every_rule_has_a_failing_stack() -> None:
    assert {rule for rule, *_ in FAILING} | {"account-in-one-stack"} == {rule.name for rule in RULES}


def test_production_rules_pass_in_other_stacks(pack: PolicyPack) -> None:
    stack = Stack.load("staging-products")
    for resource in stack.of("CallbackRegistration"):
        resource.set("url", secret("https://sms.example.com/x"))
        resource.set("adopt", True)
    assert pack.analyze(stack) == []


@pytest.mark.parametrize("name", ["prod", "production", "eu-prod", "Prod.eu", "live_2"])
def test_stack_is_production_when_its_name_has_a_production_word(pack: PolicyPack, name: str) -> None:
    policies = {violation.policy for violation in pack.analyze(Stack.load(name))}
    assert policies == {"callback-url", "production-protect", "production-durable-listener"}


@pytest.mark.parametrize("replicas", [2, UNKNOWN])
def test_listener_with_several_replicas_is_durable(pack: PolicyPack, replicas: Any) -> None:
    stack = PROD()
    add_workload("Deployment", replicas)(stack)
    stack.add("urn:pulumi:prod::p::kubernetes:apps/v1:StatefulSet::a", "kubernetes:apps/v1:StatefulSet", {})
    assert pack.analyze(stack) == []


def test_options_change_level_and_stacks(pack: PolicyPack) -> None:
    pack.configure(
        production_protect={"productionStacks": "^customer-"},
        production_durable_listener={"productionStacks": "^customer-", "enforcementLevel": "ADVISORY"},
        callback_url={"developmentStacks": "^customer-"},
    )
    assert pack.analyze(Stack.load("dev")) != []  # developmentStacks has replaced the default
    levels = {violation.policy: violation.level for violation in pack.analyze(Stack.load("customer-1"))}
    assert levels == {"production-protect": "MANDATORY", "production-durable-listener": "ADVISORY"}


def test_rule_is_not_checked_when_disabled(pack: PolicyPack) -> None:
    pack.configure(production_no_adopt={"enforcementLevel": "DISABLED"})
    stack = PROD()
    registration(stack).set("adopt", True)
    assert pack.analyze(stack) == []


def test_readiness_probe_can_be_off_when_the_account_is_exempt(pack: PolicyPack) -> None:
    pack.configure(readiness_probe={"exemptAccounts": [ACCOUNT]})
    stack = PROD()
    for resource in stack.of("CallbackRegistration"):
        resource.set("readiness", False)
    assert [violation.resource for violation in pack.analyze(stack)] == [SECOND]


def test_unknown_option_is_an_error_that_names_the_known_ones(pack: PolicyPack) -> None:
    pack.configure(callback_url={"developmentStack": "x"})
    with pytest.raises(Exception, match="policy callback-url has no option developmentStack; it has developmentStacks"):
        pack.analyze(DEV())


def test_unknown_values_are_skipped(pack: PolicyPack) -> None:
    stack = PROD()
    for resource in stack.of("CallbackRegistration"):
        for key in ("url", "username", "password", "accountName"):
            resource.set(key, UNKNOWN)
    stack.of("CallbackCredential")[0].outputs.clear()
    for resource in stack.of("SmsCallbackActivation"):
        resource.set("accountName", UNKNOWN)
    assert pack.analyze(stack) == []


def test_registration_is_not_reported_when_the_account_of_an_activation_is_unknown(pack: PolicyPack) -> None:
    stack = PROD()
    for resource in stack.of("SmsCallbackActivation"):
        resource.set("accountName", UNKNOWN)
    assert pack.analyze(stack) == []


def test_long_output_is_searched_within_the_timeout(pack: PolicyPack) -> None:
    stack = PROD()
    stack.resources[0].outputs["bundle"] = "a" * 1_000_000
    assert pack.analyze(stack) == []  # a search that is quadratic exceeds the timeout of the call


def test_registration_of_another_service_needs_no_activation(pack: PolicyPack) -> None:
    stack = PROD()
    stack.copy(registration(stack), "alerts").set("serviceName", "AlertService")
    assert pack.analyze(stack) == []
    stack.remove("SmsCallbackActivation")
    assert sorted(violation.resource for violation in pack.analyze(stack)) == [FIRST, SECOND]


def test_registration_read_by_its_id_needs_no_activation(pack: PolicyPack) -> None:
    stack = PROD()
    read = stack.copy(registration(stack), "read")
    read.inputs.clear()
    read.outputs.pop("registeredAt")
    stack.remove("SmsCallbackActivation")
    assert "read" not in {violation.resource for violation in pack.analyze(stack) if violation.policy[:3] == "one"}


def test_no_violation_holds_a_secret(pack: PolicyPack) -> None:
    stack = PROD()
    registration(stack).set("password", "hunter2-hunter2")
    registration(stack).set("url", "http://sms:hunter2-hunter2@sms.example.com/callbacks/path-token-path-token/x")
    stack.resources[0].outputs["note"] = find_password(stack)
    violations = pack.analyze(stack)
    assert {violation.policy for violation in violations} == {"callback-url", "no-plaintext-credential"}
    text = "\n".join(violation.message for violation in violations)
    for value in ("hunter2", "path-token", find_password(stack)):
        assert value not in text


def test_pack_starts_as_engines_with_an_older_language_host_start_it(folder: Path) -> None:
    with PolicyPack(folder, "-m", "pulumi.policy", "127.0.0.1:9", str(PACK)) as pack:
        assert len(pack.info().policies) == len(RULES)


def test_pack_imports_nothing_that_its_requirements_lack() -> None:
    tree = ast.parse((PACK / "__main__.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert packages == {"pulumi_policy", "yaml"}  # yaml comes with pulumi, which pulumi-policy requires


STACK_FILES = {
    "prod": f'config:\n  thingspace:accounts: ["{ACCOUNT}", "{OTHER_ACCOUNT}"]\n',
    "staging": f'config:\n  thingspace:accounts: ["{OTHER_ACCOUNT}"]\n',
    "dev": f'config:\n  thingspace:baseUrl: http://127.0.0.1:8700/api\n  thingspace:accounts: ["{ACCOUNT}"]\n',
    "secret": "config:\n  thingspace:accounts:\n    secure: v1:abc\n",
    "empty": "",
}


def test_account_is_reported_when_another_stack_file_has_it_at_the_same_base_url(
    pack: PolicyPack, folder: Path
) -> None:
    for name, text in STACK_FILES.items():
        (folder / "stacks" / f"Pulumi.{name}.yaml").write_text(text)
    [violation] = pack.analyze(PROD())
    finding = f"Account {OTHER_ACCOUNT} is in stacks/Pulumi.staging.yaml too."
    assert (*describe(violation), violation.level) == ("account-in-one-stack", SECOND, finding, "ADVISORY")
    pack.configure(account_in_one_stack={"stackFiles": False})
    assert pack.analyze(PROD()) == []


@pytest.mark.parametrize("text", ["config: [", "- a list", "config: text"])
def test_stack_file_is_reported_when_it_cannot_be_parsed(pack: PolicyPack, folder: Path, text: str) -> None:
    (folder / "stacks" / "Pulumi.other.yaml").write_text(text)
    [violation] = pack.analyze(PROD())
    assert violation.finding == "stacks/Pulumi.other.yaml is not a stack file, so its accounts are not known."


def test_account_is_reported_when_the_option_owners_names_another_stack(pack: PolicyPack) -> None:
    pack.configure(account_in_one_stack={"owners": {ACCOUNT: "other-project/prod"}})
    assert sorted(violation.finding for violation in pack.analyze(PROD())) == [
        f"Account {ACCOUNT} belongs to other-project/prod in the option owners.",
        f"Account {OTHER_ACCOUNT} has no owner in the option owners.",
    ]
    owner = "thingspace-callbacks/prod"
    pack.configure(account_in_one_stack={"owners": {ACCOUNT: owner, OTHER_ACCOUNT: owner}})
    assert pack.analyze(PROD()) == []


def test_stack_without_resources_of_the_provider_has_no_violation(pack: PolicyPack) -> None:
    stack = Stack()
    stack.add("urn:pulumi:prod::p::pulumi:pulumi:Stack::p-prod", "pulumi:pulumi:Stack", {"password": "a://b:c@d"})
    assert pack.analyze(stack) == []


def test_stack_with_hundreds_of_accounts_has_no_violation(pack: PolicyPack) -> None:
    stack = PROD()
    pairs = registration(stack), activation(stack)
    for number in range(300):
        for resource in pairs:
            copied = stack.copy(resource, f"sms-{number}")
            copied.set("accountName", f"0000000000-{number:05}")
            if "password" in copied.inputs:
                copied.set("password", secret(f"another-password-{number}"))
    assert pack.analyze(stack) == []
