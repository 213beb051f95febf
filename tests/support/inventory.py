"""Names that the code has and names that the documents have, by kind: settings, variables, metrics, events and others.

The names of the code are found by introspection, so a new one needs no entry here.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import click
import yaml
from prometheus_client import CollectorRegistry

from thingspace_provider.cli import main
from thingspace_provider.config import stack_schema
from thingspace_provider.config.credentials import CREDENTIAL_SETTINGS
from thingspace_provider.hosting import GatewayRoute, IngressRoute, SqliteVolume
from thingspace_provider.listener.forwarding.metrics import OUTCOMES
from thingspace_provider.listener.forwarding.settings import HttpSettings, KafkaSettings
from thingspace_provider.listener.ingest.callback_endpoint import REJECTION_REASONS
from thingspace_provider.listener.model import KINDS
from thingspace_provider.listener.recovery import metrics as recovery
from thingspace_provider.listener.recovery.settings import CredentialSettings
from thingspace_provider.listener.settings.listener_settings import ListenerSettings
from thingspace_provider.resources.base import to_camel_case

Documents = Mapping[str, str]  # path from the top of the repository -> text
TOP = Path(__file__).resolve().parent.parent.parent
PACKAGE = TOP / "thingspace_provider"
ALERTS = TOP / "deploy" / "monitoring" / "alerts.yml"
MAPS = {"gateway", "ingress", "recoveryCredentials", "store"}  # options with keys of their own
COMMANDS_PAGE = "docs/reference/commands.md"  # of the site
VARIABLE = re.compile(r"(?<![A-Z_])(?:THINGSPACE|PULUMI|XDG)_[A-Z0-9_]*[A-Z0-9]\b")
PROFILE_VARIABLE = re.compile(r"THINGSPACE_PLANT_[AB]_(?=APP_KEY|APP_SECRET|USERNAME|PASSWORD|BASE_URL)")
LISTENER_RULE = "Every setting of the listener has a variable, `THINGSPACE_LISTENER_` and its key in capitals"
METRIC = re.compile(r"\bthingspace_(?!provider|emulator\b|listener\b|credentials\b)[a-z_]+[a-z]\b")
LABEL_VALUES = {
    "callbacks_stored.kind": KINDS,
    "callbacks_rejected.reason": REJECTION_REASONS.values(),
    "deliveries.outcome": OUTCOMES,
    "recovery_runs.result": (recovery.COMPLETED, recovery.SKIPPED, recovery.FAILED),
}


@dataclass(frozen=True)
class Kind:
    """A kind of names.

    Args:
        spelling: returns a name as the documents have it.
        name: what the names are.
        code: names that the code has; all must stand in the documents.
        documented: names that stand in the documents; all must exist.
        other_code: further names that the documents may have, as those of tools and tests.
    """

    name: str
    code: Callable[[], set[str]]
    documented: Callable[[Documents], set[str]]
    other_code: Callable[[], set[str]] = set
    spelling: Callable[[str], str] = str

    def find_missing(self, documents: Documents) -> set[str]:
        """Return the names of the code that the documents lack."""
        return self.code() - self.documented(documents)

    def find_unknown(self, documents: Documents) -> set[str]:
        """Return the names of the documents that the code lacks."""
        return self.documented(documents) - self.code() - self.other_code()


def find_tables(text: str, heading: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables whose first line begins with a heading."""
    for table in re.findall(rf"^\| {re.escape(heading)}.*\n\|[-|]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE):
        for line in table.splitlines():
            yield [cell.strip() for cell in line.strip("|").split("|")]


def first_cells(text: str, heading: str) -> set[str]:
    """Return the names in code font in the first column of these tables."""
    return {name for cells in find_tables(text, heading) for name in re.findall(r"`([^`]+)`", cells[0])}


@cache
def parse_modules(folder: Path = PACKAGE) -> dict[Path, ast.Module]:
    """Return the syntax tree of each module below a folder."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py"))}


def aliases(*models: type) -> set[str]:
    """Return the keys of settings."""
    return {str(field.alias) for model in models for field in model.model_fields.values()}  # type: ignore[attr-defined]


def stack_keys() -> set[str]:
    """Return the keys of a stack file and of its listener."""
    return set(stack_schema.KNOWN_KEYS) | {key for schema in stack_schema.HOST_SCHEMAS.values() for key in schema}


@cache
def variables() -> set[str]:
    """Return the environment variables that the package reads."""
    credentials = {f"THINGSPACE_{variable}" for variable, _ in CREDENTIAL_SETTINGS.values()}
    of_listener = {
        f"{model.variable_of(name)}{suffix}"
        for model in (ListenerSettings, CredentialSettings)
        for name in model.model_fields
        for suffix in ("", "_FILE")
    }
    nodes = [node for tree in parse_modules().values() for node in ast.walk(tree)]
    keys = {key for node in nodes if isinstance(node, ast.Dict) for key in node.keys}  # set for a child process
    constants = {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in keys
    }
    return credentials | of_listener | {name for name in constants if VARIABLE.fullmatch(name)}


@cache
def variables_of_tools() -> set[str]:
    """Return the environment variables that tools, tests, builds and Pulumi itself read."""
    paths = [path for folder in ("tools", "tests", "deploy") for path in (TOP / folder).rglob("*") if path.is_file()]
    texts = (path.read_text(encoding="utf-8", errors="ignore") for path in [*paths, TOP / "Makefile"])
    return {name for text in texts for name in VARIABLE.findall(text) if not name.startswith("THINGSPACE_LISTENER")}


def documented_variables(documents: Documents) -> set[str]:
    """Return the variables in the documents, and those that the rules in docs/configuration.md describe."""
    names = {name for text in documents.values() for name in VARIABLE.findall(PROFILE_VARIABLE.sub("", text))}
    configuration = " ".join(documents["docs/configuration.md"].split())
    if LISTENER_RULE in configuration and "and one with `_FILE`" in configuration:
        for key in documented_settings(documents):
            variable = "THINGSPACE_LISTENER_" + re.sub(r"(?=[A-Z])", "_", key).upper()
            names |= {variable, f"{variable}_FILE"}
    if "each of them has a form with `_FILE`, too" in configuration:
        names |= {f"THINGSPACE_{variable}_FILE" for variable, _ in CREDENTIAL_SETTINGS.values()}
    return names


def documented_settings(documents: Documents) -> set[str]:
    """Return the settings of the listener in its guide."""
    settings = documents["docs/listener.md"].partition("## Settings")[2].partition("\n### ")[0]
    return first_cells(settings, "Key |")


def commands() -> set[str]:
    """Return every command and every option of it, as `thingspace messages --json`."""
    pending: list[tuple[str, click.Command]] = [("thingspace", main)]
    names = set()
    while pending:
        path, command = pending.pop()
        context = click.Context(command, info_name=path)
        names.add(path)
        names |= {
            f"{path} {option}"
            for parameter in command.get_params(context)
            if isinstance(parameter, click.Option) and not parameter.hidden
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--")
        }
        if isinstance(command, click.Group):
            children = ((name, command.get_command(context, name)) for name in command.list_commands(context))
            pending += [(f"{path} {name}", child) for name, child in children if child]
    return names


def documented_commands(documents: Documents) -> set[str]:
    """Return the commands and options on the page of commands."""
    names = set()
    for section in documents[COMMANDS_PAGE].split("\n## ")[1:]:
        path = section.partition("\n")[0]
        options = section.partition("\nOptions:\n")[2]
        names.add(path)
        lines = re.findall(r"^  (-.*?)(?:  |$)", options, flags=re.MULTILINE)
        names |= {f"{path} {option}" for line in lines for option in re.findall(r"--[\w-]+", line)}
    return names


@cache
def metrics() -> dict[str, tuple[str, ...]]:
    """Return the metrics of a listener, without the prefix and the endings of Prometheus, and their labels."""
    registry = CollectorRegistry()
    for path in sorted((PACKAGE / "listener").rglob("*.py")):
        if "import CollectorRegistry, " not in path.read_text(encoding="utf-8"):
            continue
        module = importlib.import_module(".".join(path.relative_to(TOP).with_suffix("").parts))
        for cls in vars(module).values():
            if isinstance(cls, type) and cls.__module__ == module.__name__:
                parameters = inspect.signature(vars(cls)["__init__"]).parameters if "__init__" in vars(cls) else {}
                if "registry" in parameters:
                    cls(*(registry if name == "registry" else Mock() for name in list(parameters)[1:]))
    collectors: Iterable[Any] = registry._collector_to_names  # noqa: SLF001
    return {collector._name.removeprefix("thingspace_"): collector._labelnames for collector in collectors}  # noqa: SLF001


def metric_names_in_source() -> set[str]:
    """Return what looks like the name of a metric in the listener's source."""
    return {
        node.value.removeprefix("thingspace_")
        for tree in parse_modules(PACKAGE / "listener").values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and METRIC.fullmatch(node.value)
    }


def documented_metrics(documents: Documents) -> set[str]:
    """Return the metrics in code font in the documents, without prefix and endings."""
    texts = (text for path, text in documents.items() if path not in {"CHANGELOG.md", "DECISIONS.md"})
    return {
        re.sub(r"_(total|bucket|sum|count|created)$", "", name).removeprefix("thingspace_")
        for text in texts
        for code in re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))
        for name in METRIC.findall(code)
    }


def labels() -> set[str]:
    """Return the labels of all metrics, and their values if the code has a list, as `deliveries.sink`."""
    names = {f"{metric}.{label}" for metric, labels in metrics().items() for label in labels}
    return names | {f"{label}={value}" for label, values in LABEL_VALUES.items() for value in values}


def documented_labels(documents: Documents) -> set[str]:
    """Return the labels and their values in the tables of metrics: "…, by `kind`: `text`, `sent`"."""
    names = set()
    for document in ("docs/forwarding.md", "docs/listener.md"):
        for cells in find_tables(documents[document], "Metric"):
            name = re.sub(r"`thingspace_(\w+?)(_total)?`", r"\1", cells[0])
            clauses = re.findall(r"by ((?:`\w+`(?: and )?)+)(?:: (.*))?", cells[1])
            for label_names, values in clauses:
                names |= {f"{name}.{label}" for label in re.findall(r"`(\w+)`", label_names)}
                label = re.findall(r"`(\w+)`", label_names)[-1]
                names |= {f"{name}.{label}={value}" for value in re.findall(r"`(\w+)`", values)}
    return names


@cache
def events() -> dict[str, set[str]]:
    """Return the log events of the package and the fields of each."""
    found: dict[str, set[str]] = {}
    for tree in parse_modules().values():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for function in functions:
            values = assigned_values(function)
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and (arguments := event_arguments(node)):
                    event, fields = arguments
                    if isinstance(event, ast.Name):
                        event = values.get(event.id, event)
                    if isinstance(event, ast.Constant):
                        found.setdefault(str(event.value), set()).update(field_names(fields, values))
    return found


def event_arguments(node: ast.Call) -> tuple[ast.expr, list[ast.keyword]] | None:
    """Return the event and the fields of a call that logs one."""
    match node.func:
        case ast.Attribute(attr="log_event") | ast.Name(id="log_event"):
            return node.args[0], node.keywords
        case ast.Attribute(attr="warn", value=ast.Attribute(attr="_throttled_log")):
            return node.args[1], [*node.keywords, ast.keyword("count", ast.Constant(1))]
        case ast.Attribute(value=ast.Attribute(attr="LOGGER")):
            extras = [keyword.value for keyword in node.keywords if isinstance(keyword.value, ast.Dict)]
            return node.args[0], [ast.keyword(None, value) for extra in extras for value in extra.values]
    return None


def assigned_values(tree: ast.AST) -> dict[str, ast.expr]:
    """Return constants and dictionaries by their variable."""
    values: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() | ast.Constant() as value):
                values[name] = value
    return values


def field_names(keywords: list[ast.keyword], values: Mapping[str, ast.expr]) -> Iterator[str]:
    """Yield the names of the fields in keyword arguments."""
    for keyword in keywords:
        if keyword.arg and keyword.arg != "level":
            yield keyword.arg
        for node in ast.walk(keyword.value) if keyword.arg is None else ():
            resolved = values.get(node.id) if isinstance(node, ast.Name) else node
            if isinstance(resolved, ast.Dict):
                yield from (str(key.value) for key in resolved.keys if isinstance(key, ast.Constant))


def documented_events(documents: Documents) -> set[str]:
    """Return the events in the table of the guide."""
    return first_cells(documents["docs/listener.md"], "Event |")


def alerts() -> set[str]:
    """Return the alerting rules."""
    if not ALERTS.exists():
        return set()
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def documented_alerts(documents: Documents) -> set[str]:
    """Return the alerts that have a section in docs/alerts.md."""
    return set(re.findall(r"^## (ThingSpace\w+)$", documents.get("docs/alerts.md", ""), flags=re.MULTILINE))


@cache
def errors() -> set[str]:
    """Return the public exceptions of the package."""
    known = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}
    known |= {"RunError", "MarkedYAMLError"}
    classes = [node for tree in parse_modules().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found: set[str] = set()
    while new := {
        node.name
        for node in classes
        if node.name not in found and any(ast.unparse(base).rpartition(".")[2] in known | found for base in node.bases)
    }:
        found |= new
    return {name for name in found if not name.startswith("_")}


@cache
def messages() -> frozenset[str]:
    """Return the strings in the package and the programs, with # for each value that is known at run time only."""
    folders = (PACKAGE, TOP / "drills", TOP / "policy", TOP / "tools")
    nodes = (node for folder in folders for tree in parse_modules(folder).values() for node in ast.walk(tree))
    strings = (show_text(node) for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp))
    return frozenset(filter(None, strings))


def is_message(quoted: str) -> bool:
    """Return whether a quotation is, or consists of, parts of strings of the package.

    It is cut at `…`, numbers, paths, names with an underscore and punctuation, where messages have values.
    """
    if any(quoted in text for text in messages()):
        return True
    parts = [part.strip() for part in re.split(r"…|: |[(),]|\S*[\d/_]\S*", quoted)]
    return all(any(part in text for text in messages()) for part in parts)


def show_text(node: ast.AST) -> str:
    """Return a text of the code, with # for each value that is known at run time only."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(map(show_text, values))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return show_text(left) + show_text(right)
    return "#"


def keys_of_maps() -> set[str]:
    """Return the keys of the maps of a listener on Kubernetes, as `ingress.className`."""
    models = {"gateway": GatewayRoute, "ingress": IngressRoute, "store": SqliteVolume}
    keys = {f"{key}.{to_camel_case(field.name)}" for key, model in models.items() for field in fields(model)}
    return keys | {f"recoveryCredentials.{key}" for key in aliases(CredentialSettings)}


def documented_keys_of_maps(documents: Documents) -> set[str]:
    """Return these keys in the rows of the options, in code font or in a map."""
    found = set()
    for cells in find_tables(documents["docs/kubernetes.md"], "Key of the stack file"):
        for code in re.findall(r"`([^`]+)`", cells[3]):
            names = re.findall(r"(\w+):", code) if code.startswith("{") else re.findall(r"^[a-z]\w+$", code)
            found |= {f"{key}.{name}" for key in MAPS & {cells[0].strip("`")} for name in names}
    return found


KINDS_OF_NAMES = (
    Kind("settings of the listener", lambda: aliases(ListenerSettings), documented_settings),
    Kind(
        "settings of sinks",
        lambda: aliases(HttpSettings, KafkaSettings),
        lambda documents: first_cells(documents["docs/forwarding.md"], "Key |"),
    ),
    Kind("stack keys", stack_keys, lambda documents: first_cells(documents["docs/stack-file.md"], "Key |")),
    Kind(
        "keys of maps on Kubernetes",
        keys_of_maps,
        documented_keys_of_maps,
        spelling=lambda name: name.partition(".")[2],
    ),
    Kind("environment variables", variables, documented_variables, variables_of_tools),
    Kind("commands and options", commands, documented_commands, spelling=lambda name: name.rpartition(" ")[2]),
    Kind(
        "metrics",
        lambda: set(metrics()) | metric_names_in_source(),
        documented_metrics,
        spelling=lambda name: f"thingspace_{name}",
    ),
    Kind(
        "labels of metrics",
        labels,
        documented_labels,
        spelling=lambda name: "`" + name.rpartition("=")[2].rpartition(".")[2],
    ),
    Kind("log events", lambda: set(events()), documented_events),
    Kind("alerts", alerts, documented_alerts),
    Kind("errors", errors, lambda documents: first_cells(documents["docs/reference/errors.md"], "Error |")),
)
