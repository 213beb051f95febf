"""Policy pack for Pulumi programs that use thingspace-provider. It needs pulumi-policy and nothing else.

A rule reads resource types, inputs in camelCase and options, as the engine sends them. It never repeats a secret.
Values that are unknown in a preview are skipped; the engine sends them to the rules again during `pulumi up`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import pulumi_policy
import yaml
from pulumi_policy import deserialize
from pulumi_policy.proxy import UnknownValueError

NAME = "thingspace-callbacks"

# Resource types.
DYNAMIC = "pulumi-python:dynamic/thingspace:"
REGISTRATION = f"{DYNAMIC}CallbackRegistration"
ACTIVATION = f"{DYNAMIC}SmsCallbackActivation"
LOCAL_LISTENER = f"{DYNAMIC}LocalListener"
KUBERNETES_LISTENER = "thingspace:index:KubernetesListener"
WORKLOADS = ("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet")
PROVIDER = "pulumi:providers:pulumi-python"
STACK = "pulumi:pulumi:Stack"

SMS_SERVICE = "EnhancedConnectivityService"
DEFAULT_PORTS = {"http": 80, "https": 443}
ACCEPTED_PORTS = frozenset({80, 443, *range(9001, 9007), *range(28200, 28221), *range(50551, 50560)})
ACCEPTED_PORTS_TEXT = "80, 443, 9001-9006, 28200-28220 and 50551-50559"
DEFAULT_BASE_URL = "https://thingspace.verizon.com/api"
MIN_SECRET_LENGTH = 12  # characters; a shorter text can be part of another one by chance

CREDENTIAL_KEY = re.compile(r"(?i)(passwords?|secrets?|tokens?|apiKey)$")
URL_PASSWORD = re.compile(r"://[^/\s:@\"']*:[^/\s@\"']+@")

# Configuration of rules.
PRODUCTION_STACKS: dict[str, dict[str, Any]] = {
    "productionStacks": {
        "type": "string",
        "format": "regex",
        "minLength": 1,
        "default": r"(?i)(^|[-_.])(prod|production|live)([-_.]|$)",
        "description": "regular expression for the names of production stacks",
    }
}
DEVELOPMENT_STACKS: dict[str, dict[str, Any]] = {
    "developmentStacks": {
        "type": "string",
        "format": "regex",
        "minLength": 1,
        "default": r"(?i)(^|[-_.])(dev|development|local|test|ci|demo|sandbox)([-_.]|$)",
        "description": "regular expression for the names of stacks whose listener can be on this machine",
    }
}
EXEMPT_ACCOUNTS: dict[str, dict[str, Any]] = {
    "exemptAccounts": {
        "type": "array",
        "items": {"type": "string"},
        "uniqueItems": True,
        "default": [],
        "description": "accounts whose listener cannot respond to the probe",
    }
}
OWNERS: dict[str, dict[str, Any]] = {
    "stackFiles": {
        "type": "boolean",
        "default": True,
        "description": "compare with thingspace:accounts in the other stack files of the project",
    },
    "owners": {
        "type": "object",
        "additionalProperties": {"type": "string", "pattern": "^[^/]+/[^/]+$"},
        "default": {},
        "description": "the only stack that may have an account, as project/stack, for each account",
    },
}


class SecretText(str):
    """Text that the engine has marked as a secret."""

    __slots__ = ()


@dataclass(frozen=True)
class Resource:
    """A resource as the engine sends it: the inputs in a resource rule, the outputs, if known, in a stack rule."""

    type: str
    urn: str
    props: Mapping[str, Any]
    protect: bool

    @property
    def project(self) -> str:
        """Name of the project."""
        return self.urn.split("::")[1]

    @property
    def stack(self) -> str:
        """Name of the stack, without the organization."""
        return self.urn.split("::")[0].rpartition(":")[2]

    @property
    def name(self) -> str:
        """Name in the program."""
        return self.urn.rpartition("::")[2]

    @property
    def is_part_of_listener(self) -> bool:
        """Whether a KubernetesListener made it."""
        return f"{KUBERNETES_LISTENER}$" in self.urn

    def get(self, key: str) -> Any:
        """Return a property, or None if it is missing or unknown."""
        try:
            return self.props.get(key)
        except UnknownValueError:
            return None

    def has(self, key: str) -> bool:
        """Return whether a property is set, to a value that may be unknown."""
        return key in iter(self.props) and self.get(key) != ""


@dataclass(frozen=True)
class Finding:
    """What breaks a rule, and the resource; none for the stack."""

    message: str
    urn: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What all rules have. `config` is the JSON schema of each option; every option has a default."""

    name: str
    description: str
    reason: str
    fix: str
    level: pulumi_policy.EnforcementLevel
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def schema(self) -> pulumi_policy.PolicyConfigSchema | None:
        """The options in the form of the SDK."""
        options = {key: dict(value) for key, value in self.config.items()}
        return pulumi_policy.PolicyConfigSchema(options) if options else None

    def options(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each option. The engine validates values and ignores unknown keys."""
        if unknown := [key for key in config if key not in self.config]:
            raise ValueError(
                f"policy {self.name} has no option {unknown[0]}; it has {', '.join(self.config) or 'none'}"
            )
        return {key: config.get(key, schema["default"]) for key, schema in self.config.items()}

    def report(self, findings: Iterable[Finding], report: pulumi_policy.ReportViolation) -> None:
        """Report findings with the reason of the rule and the fix."""
        for finding in findings:
            report(f"{finding.message}\nReason: {self.reason}\nFix: {self.fix}", finding.urn)


@dataclass(frozen=True, kw_only=True)
class ResourceRule(Rule):
    """A rule for each resource of some types. The engine checks it before it changes the resource."""

    types: tuple[str, ...]
    check: Callable[[Resource, Mapping[str, Any]], Iterable[str]]

    def policy(self) -> pulumi_policy.Policy:
        """Return the policy of the SDK."""
        return pulumi_policy.ResourceValidationPolicy(
            self.name, self.description, self._validate, self.level, self.schema, remediation_steps=self.fix
        )

    def _validate(self, args: pulumi_policy.ResourceValidationArgs, report: pulumi_policy.ReportViolation) -> None:
        if args.resource_type in self.types:
            self.report(map(Finding, self.check(_resource(args), self.options(args.get_config()))), report)


@dataclass(frozen=True, kw_only=True)
class StackRule(Rule):
    """A rule for all resources of a stack that has resources of the provider. The engine checks it at the end."""

    check: Callable[[Sequence[Resource], Mapping[str, Any]], Iterable[Finding]]

    def policy(self) -> pulumi_policy.Policy:
        """Return the policy of the SDK."""
        return pulumi_policy.StackValidationPolicy(
            self.name, self.description, self._validate, self.level, self.schema, remediation_steps=self.fix
        )

    def _validate(self, args: pulumi_policy.StackValidationArgs, report: pulumi_policy.ReportViolation) -> None:
        options = self.options(args.get_config())
        if any(resource.resource_type.startswith(DYNAMIC) for resource in args.resources):
            self.report(self.check([_resource(item) for item in args.resources], options), report)


def _resource(item: pulumi_policy.ResourceValidationArgs | pulumi_policy.PolicyResource) -> Resource:
    return Resource(item.resource_type, item.urn, item.props, item.opts.protect)


# --- Rules for one resource ---


def check_callback_url(resource: Resource, options: Mapping[str, Any]) -> Iterator[str]:
    """Find callback URLs without https, at a rejected port, or at a private address outside of development."""
    url = resource.get("url")
    if not isinstance(url, str):
        return
    parts = _split_url(url)
    if parts is None:
        yield "The callback URL is not a valid URL."
        return
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    is_development = re.search(options["developmentStacks"], resource.stack) is not None
    address = _parse_address(parts.hostname or "")
    if address and address.is_private and not is_development:
        yield "The callback URL leads to a private address or to the machine that runs Pulumi."
    elif parts.scheme != "https" and not (address and address.is_loopback):
        yield f"The callback URL has the scheme {parts.scheme or '(none)'}, not https."
    if port not in ACCEPTED_PORTS:
        yield f"The callback URL has port {port}; ThingSpace accepts {ACCEPTED_PORTS_TEXT}."


def check_readiness(resource: Resource, options: Mapping[str, Any]) -> Iterator[str]:
    """Find registrations without a readiness probe."""
    if resource.get("readiness") is False and resource.get("accountName") not in options["exemptAccounts"]:
        yield "The readiness probe is switched off."


def check_password(resource: Resource, _options: Mapping[str, Any]) -> Iterator[str]:
    """Find registrations without user name or password."""
    missing = [key for key in ("username", "password") if not resource.has(key)]
    if missing:
        yield f"The registration has no {' and no '.join(missing)}."


def check_protect(resource: Resource, options: Mapping[str, Any]) -> Iterator[str]:
    """Find production registrations that can be deleted."""
    if not resource.protect and _is_production(resource, options):
        yield "The registration is not protected."


def check_adopt(resource: Resource, options: Mapping[str, Any]) -> Iterator[str]:
    """Find production registrations that may replace a foreign one."""
    if resource.get("adopt") is True and _is_production(resource, options):
        yield "The registration has adopt=True."


def check_durable_listener(resource: Resource, options: Mapping[str, Any]) -> Iterator[str]:
    """Find production listeners that stop with one machine, pod or volume."""
    if not _is_production(resource, options):
        return
    if resource.type == LOCAL_LISTENER:
        yield "A LocalListener is a process on the machine that runs Pulumi."
    elif resource.is_part_of_listener and resource.type.endswith("StatefulSet"):
        yield "A KubernetesListener has one replica with SQLite on a volume."
    elif resource.is_part_of_listener and dict(_leaves(resource.props)).get(("spec", "replicas")) == 1:
        yield "A KubernetesListener has one replica."


# --- Rules for the stack ---


def check_plaintext(resources: Sequence[Resource], _options: Mapping[str, Any]) -> Iterator[Finding]:
    """Find credentials that are not secrets: by key, by value, and in URLs."""
    strings = [(resource, [*_strings(resource.props)]) for resource in resources]
    secrets = {
        str(text)
        for resource, items in strings
        if resource.type.startswith((DYNAMIC, PROVIDER))
        for path, text in items
        if isinstance(text, SecretText) and len(text) >= MIN_SECRET_LENGTH and _is_credential(path)
    }
    known = re.compile("|".join(map(re.escape, sorted(secrets)))) if secrets else None
    for resource, items in strings:
        is_own = resource.type.startswith((DYNAMIC, PROVIDER, STACK)) or resource.is_part_of_listener
        for path, text in items:
            if isinstance(text, SecretText):
                continue
            where = ".".join(path)
            if is_own and _is_credential(path) and not resource.is_part_of_listener:
                yield Finding(f"{where} is not a secret.", resource.urn)
            elif is_own and URL_PASSWORD.search(text):
                yield Finding(f"{where} holds a URL with a password and is not a secret.", resource.urn)
            elif known and known.search(text):
                yield Finding(f"{where} holds a credential of this stack and is not a secret.", resource.urn)


def check_one_each(resources: Sequence[Resource], _options: Mapping[str, Any]) -> Iterator[Finding]:
    """Find accounts with two registrations of a service, with two activations, or with none."""
    registrations = defaultdict(list)
    activations = defaultdict(list)
    has_unknown = any(resource.type == ACTIVATION and resource.get("accountName") is None for resource in resources)
    for resource in resources:
        account = resource.get("accountName")
        if account is None:
            continue
        if resource.type == ACTIVATION:
            activations[account].append(resource)
        elif resource.type == REGISTRATION and not _is_read_only(resource):
            registrations[account, resource.get("serviceName")].append(resource)
    for (account, service), [first, *others] in registrations.items():
        for other in others:
            yield Finding(f"{first.name} registers {service} of account {account} too.", other.urn)
        if service == SMS_SERVICE and account not in activations and not has_unknown:
            yield Finding(f"Account {account} has a registration and no activation.", first.urn)
    for account, [first, *others] in activations.items():
        for other in others:
            yield Finding(f"{first.name} activates account {account} too.", other.urn)


def check_one_stack(resources: Sequence[Resource], options: Mapping[str, Any]) -> Iterator[Finding]:
    """Find accounts that another stack has too."""
    accounts: dict[str, Resource] = {}
    for resource in resources:
        if resource.type in (REGISTRATION, ACTIVATION) and resource.get("accountName") and not _is_read_only(resource):
            accounts.setdefault(resource.get("accountName"), resource)
    if not accounts:
        return
    [project, stack] = [resources[0].project, resources[0].stack]
    owners = options["owners"]
    for account, resource in accounts.items():
        owner = owners.get(account)
        if owners and owner != f"{project}/{stack}":
            what = f"belongs to {owner}" if owner else "has no owner"
            yield Finding(f"Account {account} {what} in the option owners.", resource.urn)
    if options["stackFiles"]:
        own, *others = [*_read_stack_files(stack)]
        for other in others:
            if not other.is_valid:
                yield Finding(f"{other.path} is not a stack file, so its accounts are not known.")
            for account in sorted(accounts.keys() & other.accounts) if other.base_url == own.base_url else ():
                yield Finding(f"Account {account} is in {other.path} too.", accounts[account].urn)


# --- Parts of rules ---


def _is_production(resource: Resource, options: Mapping[str, Any]) -> bool:
    return re.search(options["productionStacks"], resource.stack) is not None


def _is_read_only(resource: Resource) -> bool:
    """Return whether a registration was read by its id: it has outputs, and was not registered by this stack."""
    return resource.type == REGISTRATION and resource.has("endpoint") and not resource.has("registeredAt")


def _split_url(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is no port
    except ValueError:
        return None
    return parts if parts.hostname else None


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that a host is, or None for another name than localhost."""
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def _is_credential(path: Sequence[str]) -> bool:
    """Return whether the last key of the path names a credential. The items of a list have numbers."""
    return any(CREDENTIAL_KEY.search(key) for key in [key for key in path if not key.isdigit()][-1:])


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the known values in a property, with their paths."""
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        for key in value if isinstance(value, Mapping) else range(len(value)):
            with contextlib.suppress(UnknownValueError):
                yield from _leaves(value[key], (*path, str(key)))
    else:
        yield path, value


def _strings(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the known strings that are not empty. An object in the configuration is a JSON string, and is parsed."""
    for where, leaf in _leaves(value, path):
        if isinstance(leaf, str) and leaf:
            yield where, leaf
            if leaf.startswith("{") and not isinstance(leaf, SecretText):
                with contextlib.suppress(ValueError):
                    yield from _strings(json.loads(leaf), where)


@dataclass(frozen=True)
class StackFile:
    """What a stack file says about accounts."""

    path: str
    accounts: frozenset[str] = frozenset()
    base_url: object = DEFAULT_BASE_URL
    is_valid: bool = True


def _read_stack_files(stack: str) -> Iterator[StackFile]:
    """Yield the file of this stack, then the files of the other stacks of the project in the working directory."""
    project = next((file for folder in (Path.cwd(), *Path.cwd().parents) for file in folder.glob("Pulumi.y*ml")), None)
    files = {}
    if project is not None:
        options = yaml.safe_load(project.read_text())
        folder = project.parent / (options.get("stackConfigDir") or ".")
        paths = sorted(folder.glob("Pulumi.*.y*ml"))
        files = {path.stem: _parse_stack_file(path, os.path.relpath(path, project.parent)) for path in paths}
    yield files.pop(f"Pulumi.{stack}", StackFile(""))
    yield from files.values()


def _parse_stack_file(path: Path, name: str) -> StackFile:
    try:
        config = (yaml.load(path.read_text(), yaml.BaseLoader) or {}).get("config") or {}  # noqa: S506  strings only
        accounts = config.get("thingspace:accounts")
        base_url = config.get("thingspace:baseUrl", DEFAULT_BASE_URL)
    except (yaml.YAMLError, AttributeError):
        return StackFile(name, is_valid=False)
    return StackFile(
        name,
        frozenset(item for item in accounts if isinstance(item, str)) if isinstance(accounts, list) else frozenset(),
        base_url.rstrip("/") if isinstance(base_url, str) else base_url,
    )


ADVISORY = pulumi_policy.EnforcementLevel.ADVISORY
MANDATORY = pulumi_policy.EnforcementLevel.MANDATORY

RULES = (
    ResourceRule(
        name="callback-url",
        description="A callback URL has https, a port that ThingSpace accepts, and a public host.",
        reason="Without TLS, others can read messages and the callback password; ThingSpace rejects other ports and "
        "does not reach private addresses.",
        fix=f"Set the URL of a listener with https and one of the ports {ACCEPTED_PORTS_TEXT}; or, for a stack of a "
        "developer, set developmentStacks to a pattern that its name matches.",
        level=MANDATORY,
        check=check_callback_url,
        types=(REGISTRATION,),
        config=DEVELOPMENT_STACKS,
    ),
    ResourceRule(
        name="readiness-probe",
        description="A registration has a readiness probe.",
        reason="Without it, ThingSpace sends messages to a URL that leads to no listener or to the wrong one.",
        fix="Remove readiness=False; if the listener cannot respond to the probe, add the account to exemptAccounts.",
        level=ADVISORY,
        check=check_readiness,
        types=(REGISTRATION,),
        config=EXEMPT_ACCOUNTS,
    ),
    ResourceRule(
        name="registration-password",
        description="A registration has a user name and a password.",
        reason="Without them, the listener cannot distinguish ThingSpace from another sender.",
        fix="Set username and password of the registration, for example those of a CallbackCredential.",
        level=MANDATORY,
        check=check_password,
        types=(REGISTRATION,),
    ),
    ResourceRule(
        name="production-protect",
        description="A registration in production is protected.",
        reason="Its deletion deregisters the listener, and messages stay in ThingSpace's queue.",
        fix="Set ResourceOptions(protect=True); the example program does that for thingspace:protect: true.",
        level=MANDATORY,
        check=check_protect,
        types=(REGISTRATION,),
        config=PRODUCTION_STACKS,
    ),
    ResourceRule(
        name="production-no-adopt",
        description="A registration in production does not replace a foreign one.",
        reason="With adopt, an update does not stop at a registration that another program or person made.",
        fix="Remove adopt=True; in the stack file, remove thingspace:adopt. For a takeover, set it for one update.",
        level=MANDATORY,
        check=check_adopt,
        types=(REGISTRATION,),
        config=PRODUCTION_STACKS,
    ),
    ResourceRule(
        name="production-durable-listener",
        description="A listener in production survives the loss of a machine.",
        reason="One process with one volume is a single point of failure: while it is down, messages wait in "
        "ThingSpace's queue, and a lost volume loses stored messages.",
        fix="Use a KubernetesListener with a PostgreSQL store and two or more replicas.",
        level=MANDATORY,
        check=check_durable_listener,
        types=(LOCAL_LISTENER, *WORKLOADS),
        config=PRODUCTION_STACKS,
    ),
    StackRule(
        name="no-plaintext-credential",
        description="A credential is a secret wherever the stack stores it.",
        reason="The state, previews and stack outputs show it to everyone who can read them.",
        fix="Wrap the value in pulumi.Output.secret, or set it with `pulumi config set --secret`; then rotate the "
        "credential.",
        level=MANDATORY,
        check=check_plaintext,
    ),
    StackRule(
        name="one-activation-for-each-account",
        description="A stack has one registration and one activation for each account.",
        reason="Two registrations replace each other; without an activation, nothing drains ThingSpace's queue.",
        fix="Name each account once in SmsCallbacks, which makes one registration and one activation.",
        level=MANDATORY,
        check=check_one_each,
    ),
    StackRule(
        name="account-in-one-stack",
        description="An account is in one stack.",
        reason="ThingSpace keeps one registration for each account and service, so two stacks replace each other's.",
        fix="Remove the account from one of the stacks, or correct the option owners.",
        level=ADVISORY,
        check=check_one_stack,
        config=OWNERS,
    ),
)


def keep_secret_marks() -> None:
    """Make the SDK return each string that the engine marks as a secret as SecretText.

    The engine marks secrets for policies, and the SDK removes the marks. It has no setting for that, so this replaces
    one of its functions. Exits if that has no effect, because no-plaintext-credential would find nothing.
    """
    original = getattr(deserialize, "_deserialize_property", None)

    def marked(prop: Any, proxy_secrets: bool = False) -> Any:
        value = original(prop, proxy_secrets) if original else prop
        is_secret = isinstance(prop, dict) and prop.get(deserialize.SPECIAL_SIG_KEY) == deserialize.SPECIAL_SECRET_SIG
        return _mark(value) if is_secret else value

    deserialize._deserialize_property = marked  # noqa: SLF001
    probe = {"": {deserialize.SPECIAL_SIG_KEY: deserialize.SPECIAL_SECRET_SIG, "value": "x"}}
    if not isinstance(deserialize.deserialize_properties(probe)[""], SecretText):
        raise SystemExit(f"{NAME}: this version of pulumi-policy is not supported. Install that of requirements.txt.")


def _mark(value: Any) -> Any:
    if isinstance(value, str):
        return SecretText(value)
    if isinstance(value, dict):
        return {key: _mark(item) for key, item in value.items()}
    return [_mark(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    keep_secret_marks()
    pulumi_policy.PolicyPack(NAME, [rule.policy() for rule in RULES])
