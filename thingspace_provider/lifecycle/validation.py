"""Validation shared by resources and stack files: account names, profiles, callback credentials, URLs, Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from thingspace_provider.common.suggestions import did_you_mean
from thingspace_provider.common.urls import InvalidUrl, effective_port, parse_http_url
from thingspace_provider.lifecycle.model import UNKNOWN, CheckFailure, State, Unknown, is_unknown

ACCEPTED_PORTS = frozenset({80, 443, *range(9001, 9007), *range(28200, 28221), *range(50551, 50560)})
ACCEPTED_PORTS_TEXT = "80, 443, 9001-9006, 28200-28220 or 50551-50559"
PLACEHOLDERS = frozenset({"{account}", "{path_token}"})  # of the URL of an external listener
REJECTED_CHARACTERS = "<>\\'"  # in a callback URL
MAX_CREDENTIAL_LENGTH = 40  # characters, for the user name and for the password
TRIGGERS_REASON = 'must be a list, for example ["2026-03-01"], or a dictionary'
PROFILE_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

HOST_NAME = re.compile(r"(?=.{4,253}$)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])")
INTEGER_RANGES = {"replicas": (1, 1000), "rolloutTimeoutSeconds": (10, 3600), "preStopSeconds": (0, 3600)}
NAME_RULES = {
    "host": (HOST_NAME, "a DNS name in small letters without scheme, port and path"),
    "namespace": (re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"), "at most 63 small letters, digits and -"),
}
RECOVERY_MODES = ("off", "startCallbacks", "history")
RECOVERY_KEYS = ("appKey", "appSecret", "username", "password")  # and baseUrl
KUBERNETES_KEYS = {  # of the options of a KubernetesListener that are maps, as a stack file has them
    "store": ("size", "storageClass"),
    "ingress": ("className", "annotations", "tlsSecret", "issuer", "issuerKind"),
    "gateway": ("name", "namespace", "sectionName"),
    "recoveryCredentials": (*RECOVERY_KEYS, "baseUrl"),
    "resources": ("requests", "limits", "claims"),  # glossary: allow
    "settings": (  # of the listener; the component sets all others
        "recoveryDelaySeconds",
        "recoveryIntervalSeconds",
        "sourceAddressPolicy",
        "allowedSourceAddresses",
        "trustedProxyHops",
        "minFreeDiskSpace",
        "requireSynchronousStandby",
        "retentionDays",
        "keepAliveSeconds",
        "tracing",
    ),
}

# Values that ThingSpace's documentation names although they cannot be registered.
MISLEADING_SERVICES = {
    "DeviceMessages": "ThingSpace's documentation names it, but it cannot be registered: use EnhancedConnectivityService",  # noqa: E501
    "AlertsService": "the name is AlertService",
    "SMS": "the service for device messages is EnhancedConnectivityService",
}


def is_accepted_port(value: object) -> bool:
    """Return whether ThingSpace accepts the value as the port of a callback URL."""
    return isinstance(value, int) and not isinstance(value, bool) and value in ACCEPTED_PORTS


def describe_rejected_port(value: object) -> str:
    """Return the reason for a port that is_accepted_port denies."""
    return f"ThingSpace rejects port {value} for callbacks; it accepts {ACCEPTED_PORTS_TEXT}"


def check_account_name(state: State) -> list[CheckFailure]:
    """Validate `accountName`."""
    return account_name_errors("accountName", state.get("accountName"))


def account_name_errors(key: str, value: object) -> list[CheckFailure]:
    """Validate one account name. It is opaque text: a number has lost its leading zeros."""
    if is_unknown(value):
        return []
    if isinstance(value, int | float) and not isinstance(value, bool):
        reason = f'{value} is a number and has no leading zeros. Quote the account name, for example "0000123456-00001"'
    elif not isinstance(value, str) or not value:
        reason = 'must be an account name, for example "0000123456-00001"'
    elif value != value.strip() or not value.isprintable() or "/" in value or " " in value:
        reason = f"{value!r} is not an account name: it must not contain spaces, slashes or control characters"
    else:
        return []
    return [CheckFailure(key, reason)]


def check_profile(state: State) -> list[CheckFailure]:
    """Validate `profile`, which becomes part of the names of environment variables."""
    value = state.get("profile")
    if value is None or is_unknown(value):
        return []
    if isinstance(value, str) and value.lower() == "listener":
        reason = "listener is reserved: THINGSPACE_LISTENER_PASSWORD is a setting of the listener"
        return [CheckFailure("profile", reason)]
    if isinstance(value, str) and PROFILE_PATTERN.fullmatch(value):
        return []
    reason = f"{value!r} is not a profile name: use letters, digits and _, for example plant_a"
    return [CheckFailure("profile", reason)]


def check_credential(state: State, *keys: str) -> list[CheckFailure]:
    """Validate user names and passwords: text of at most 40 characters. The failures have the key ""."""
    failures = []
    for key in keys:
        value = state.get(key)
        if value is None or is_unknown(value):
            continue
        if not isinstance(value, str):
            failures.append(CheckFailure("", f"{key} must be text"))
        elif len(value) > MAX_CREDENTIAL_LENGTH:
            reason = f"{key} is {len(value)} characters long; ThingSpace accepts at most {MAX_CREDENTIAL_LENGTH}"
            failures.append(CheckFailure("", reason))
    return failures


def check_password_list(state: State, key: str) -> list[CheckFailure]:
    """Validate a list of passwords, each as check_credential does."""
    values = state.get(key)
    if values is None or isinstance(values, Unknown):
        return []
    if not isinstance(values, list):
        return [CheckFailure("", f"{key} must be a list")]
    return [failure for value in values for failure in check_credential({key: value}, key)]


def check_service_name(state: State) -> list[CheckFailure]:
    """Validate `serviceName`, a case-sensitive word."""
    value = state.get("serviceName")
    if is_unknown(value):
        return []
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]+", value):
        reason = f"{value!r} is not a service name such as EnhancedConnectivityService"
        return [CheckFailure("serviceName", reason)]
    if value in MISLEADING_SERVICES:
        return [CheckFailure("serviceName", f"{value}: {MISLEADING_SERVICES[value]}")]
    return []


def check_callback_url(state: State) -> list[CheckFailure]:
    """Validate `url`. The failure has the key "", because the path may hold a token."""
    value = state.get("url")
    if is_unknown(value):
        return []
    error = callback_url_error(value)
    return [CheckFailure("", f"url: {error}")] if error else []


def callback_url_error(value: object) -> str | None:
    """Return why ThingSpace would reject a callback URL, or None. Does not repeat the URL."""
    if not isinstance(value, str) or not value:
        return "must be a callback URL, for example https://sms.example.com/callbacks/0000123456-00001"
    try:
        parts = parse_http_url(value, allow_query=True, allow_userinfo=True)
    except InvalidUrl as error:
        return str(error)
    if not is_accepted_port(effective_port(parts)):
        return describe_rejected_port(effective_port(parts))
    if parts.username is not None or parts.password is not None:
        return "ThingSpace sends no HTTP authentication: set the inputs username and password instead"
    if placeholders := _placeholders(value):
        return f"it holds {', '.join(sorted(placeholders))}, which is not replaced"
    if any(character in REJECTED_CHARACTERS for character in value):
        return "it holds a character that ThingSpace rejects"
    return None


def url_template_error(template: str, account_count: int) -> str | None:
    """Return why the URL of an external listener cannot be used for so many accounts, or None."""
    if unknown := _placeholders(template) - PLACEHOLDERS:
        known = " and ".join(sorted(PLACEHOLDERS))
        return f"holds {', '.join(sorted(unknown))}, which is not replaced; the placeholders are {known}"
    if account_count > 1 and "{account}" not in template:
        return f"is the same for {account_count} accounts: add {{account}}, which is replaced by the account"
    return None


def _placeholders(url: str) -> set[str]:
    return set(re.findall(r"\{\w*\}", url))


def check_triggers(state: State) -> list[CheckFailure]:
    """Validate `triggers`, a list or an object as in other resources that run again when a value changes."""
    value = state.get("triggers")
    if value is None or isinstance(value, list | dict) or is_unknown(value):
        return []
    return [CheckFailure("triggers", TRIGGERS_REASON)]


def kubernetes_option_errors(options: Mapping[str, object]) -> Iterator[CheckFailure]:
    """Validate the options of a KubernetesListener, by their keys in a stack file.

    Unknown values, outputs and values of other types are not checked. No reason repeats the store: it holds a password.
    """
    for key, (minimum, maximum) in INTEGER_RANGES.items():
        value = options.get(key)
        if isinstance(value, int | float) and (isinstance(value, float | bool) or not minimum <= value <= maximum):
            yield CheckFailure(key, f"is {value}; it must be a whole number from {minimum} to {maximum}")
    yield from _name_errors(options)
    for option, keys in KUBERNETES_KEYS.items():
        entry = options.get(option)
        for key in entry if isinstance(entry, Mapping) else ():
            if key not in keys:
                yield CheckFailure(f"{option}.{key}", f"cannot be set here; {did_you_mean(str(key), keys)}")
    environment = options.get("environment")
    for name, value in environment.items() if isinstance(environment, Mapping) else ():
        if str(name).startswith("THINGSPACE_"):
            yield CheckFailure("environment", f"has {name}: use the option or the key of settings instead")
        elif value is None or isinstance(value, bool | int | float | list | dict):
            yield CheckFailure("environment", f"has {name} without text: quote its value")
    yield from _store_errors(options)
    yield from _route_errors(options)
    yield from _recovery_errors(options)


def _name_errors(options: Mapping[str, object]) -> Iterator[CheckFailure]:
    for key, (pattern, rule) in NAME_RULES.items():
        value = options.get(key)
        if isinstance(value, str) and not pattern.fullmatch(value):
            yield CheckFailure(key, f"is {value!r}; it must be {rule}")


def _store_errors(options: Mapping[str, object]) -> Iterator[CheckFailure]:
    store, replicas = options.get("store"), options.get("replicas")
    if isinstance(store, str) and store.startswith("sqlite:"):
        reason = "is a file, which a pod loses: set SqliteVolume() in a program, {size: 1Gi} in a stack file"
        yield CheckFailure("store", reason)
    elif isinstance(store, str) and not store.startswith(("postgresql://", "postgres://")):
        yield CheckFailure("store", "must be a PostgreSQL URL, as postgresql://user:password@host/database")
    if isinstance(store, Mapping) and isinstance(replicas, int) and replicas > 1:
        yield CheckFailure("replicas", f"is {replicas}, but listeners cannot share a SQLite store: use PostgreSQL")


def _route_errors(options: Mapping[str, object]) -> Iterator[CheckFailure]:
    ingress, gateway = options.get("ingress"), options.get("gateway")
    if ingress is not None and gateway is not None:
        yield CheckFailure("gateway", "and ingress are both set: remove one of them")
    if isinstance(gateway, Mapping) and not gateway.get("name"):
        yield CheckFailure("gateway.name", "is missing: set the name of the Gateway")
    if not isinstance(ingress, Mapping):
        return
    if ingress.get("tlsSecret") and ingress.get("issuer"):
        yield CheckFailure("ingress.issuer", "and tlsSecret are both set: remove one of them")
    if ingress.get("issuerKind", "Issuer") not in ("ClusterIssuer", "Issuer", UNKNOWN):
        yield CheckFailure("ingress.issuerKind", "must be ClusterIssuer or Issuer")
    annotations = ingress.get("annotations")
    for key, value in annotations.items() if isinstance(annotations, Mapping) else ():
        if value is None or isinstance(value, bool | int | float | list | dict):
            yield CheckFailure("ingress.annotations", f"has {key} without text: quote its value")


def _recovery_errors(options: Mapping[str, object]) -> Iterator[CheckFailure]:
    mode, credentials = options.get("recoveryMode"), options.get("recoveryCredentials")
    if isinstance(mode, str) and mode not in RECOVERY_MODES:
        yield CheckFailure("recoveryMode", f"is {mode!r}; it must be {' or '.join(RECOVERY_MODES)}")
    elif isinstance(mode, str) and mode != "off" and not credentials:
        yield CheckFailure("recoveryCredentials", f"must be set for recoveryMode {mode}: {', '.join(RECOVERY_KEYS)}")
    if isinstance(credentials, Mapping) and (missing := [key for key in RECOVERY_KEYS if not credentials.get(key)]):
        yield CheckFailure("recoveryCredentials", f"has no {', '.join(missing)}")
