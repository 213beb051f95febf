"""Writes the generated pages of docs/reference/: one page for each resource, and one for the errors.

A page has the docstring of the class, which `help()` shows too, and what the code decides: types, defaults, secrets,
and what a change of an input does according to the lifecycle's diff. `make reference` writes them; a test fails if one
is not up to date.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, cast
from unittest import mock

import griffe

import thingspace_provider
from thingspace_provider import providers
from thingspace_provider.lifecycle.model import Lifecycle
from thingspace_provider.resources import CallbackCredential, base

TOP = Path(__file__).resolve().parent.parent
FOLDER = TOP / "docs" / "reference"
RESOURCES = (
    "SmsCallbacks",
    "CallbackRegistration",
    "SmsCallbackActivation",
    "CallbackCredential",
    "LocalListener",
    "KubernetesListener",
    "ExternalListener",
)
OPERATIONS = ("preview", "create", "update", "replace", "refresh", "delete", "import")
ITEM = re.compile(r"^(\S.*?): +(\S.*(?:\n    .*)*)", re.MULTILINE)  # of the sections Operations and Errors
MESSAGE_HAS_HINT = "The message says what to do."
PACKAGE = cast("griffe.Module", griffe.load("thingspace_provider", search_paths=[TOP], docstring_parser="google"))


def render_pages() -> dict[str, str]:
    """Return the text of each generated page by its file name."""
    pages = {f"{to_file_name(name)}.md": "\n".join(render_resource(name)) for name in RESOURCES}
    return pages | {"errors.md": "\n".join(render_errors())}


def to_file_name(name: str) -> str:
    """Convert a class name: `LocalListener` becomes `local-listener`."""
    return re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower()


def render_resource(name: str) -> Iterator[str]:
    """Yield the lines of the page of one resource."""
    node, sections = find_class(name), read_sections(name)
    state = StateKeys(name)
    yield f"# {name}\n\n{sections['text']}\n"
    if state.resource_type:
        yield f"Type: `{state.resource_type}`.\n"
    yield f"## Example\n\n```python\n{sections['Example']}\n```\n\n## Create\n\n```python\n{name}("
    yield from (f"    {line}," for line in parameter_lines(node))
    yield ")\n```\n\n`Input[T]` is a value or an output.\n\n## Inputs\n"
    yield from table(("Input", "Description"), input_rows(node, state))
    yield "## Outputs\n"
    if state.inputs:
        yield f"Inputs that are set are outputs too: {', '.join(f'`{key}`' for key in state.inputs)}.\n"
    yield from table(("Output", "Description"), output_rows(node, state))
    yield "## Operations\n"
    yield from table(("Operation", "Effect"), read_items(name, "Operations"))
    yield "## Errors\n\n[Errors](errors.md) lists the errors of all resources.\n"
    yield from table(("Error", "What to do"), read_items(name, "Errors"))
    if types := [supporting for supporting in supporting_types(node) if supporting not in RESOURCES]:
        yield "## Supporting types\n"
        for supporting in types:
            yield from render_supporting_type(supporting)


def render_supporting_type(name: str) -> Iterator[str]:
    """Yield the lines of a class that is the type of an input."""
    node = find_class(name)
    yield f"### {name}\n\n{read_sections(name)['text']}\n"
    rows = list(input_rows(node, StateKeys(name)))
    yield from table(("Field", "Description"), rows) if rows else table(("Member", "Description"), output_rows(node))


class StateKeys:
    """The inputs, outputs and secrets that a resource sends to the engine, by their Python names."""

    def __init__(self, name: str) -> None:
        cls, adapter = getattr(thingspace_provider, name), getattr(providers, f"{name}Provider", None)
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.secrets: list[str] = []
        self.lifecycle: Lifecycle | None = adapter.lifecycle if adapter else None
        self.resource_type = ""
        if not self.lifecycle:
            if "thingspace:index:" in inspect.getsource(cls):
                self.resource_type = f"thingspace:index:{name}"
            return
        self.resource_type = f"pulumi-python:{cls._resource_type_name}"
        credential = CallbackCredential.__new__(CallbackCredential)
        credential.__dict__ |= dict.fromkeys(CallbackCredential.__annotations__)
        arguments: dict[str, Any] = {
            "account_name": "",
            "url": "",
            "account_names": ["0000123456-00001"],
            "credential": credential,
            "state_dir": "directory",
        }
        arguments = {key: value for key, value in arguments.items() if key in inspect.signature(cls).parameters}
        with mock.patch.object(base.Resource, "__init__", self._record):
            cls("name", **arguments)

    def _record(
        self, _provider: object, _name: str, inputs: dict[str, Any], outputs: list[str], *_: object, **options: Any
    ) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.secrets = list(options.get("secret_outputs", ()))

    def default_of(self, name: str) -> object:
        """Return the default that the lifecycle's check fills in, or None."""
        return self.lifecycle and self.lifecycle.check({}).inputs.get(base.to_camel_case(name))

    def effect_of(self, names: Collection[str]) -> str:
        """Return what a change of these inputs does according to the lifecycle's diff, or "" without one."""
        if self.lifecycle is None:
            return ""
        olds = {base.to_camel_case(key): "old" for key in self.inputs} | {"running": True, "baseUrlFingerprint": "same"}
        news = olds | {base.to_camel_case(name): "new" for name in names}
        difference = self.lifecycle.diff(olds, news, lambda _: "same")
        if difference.replaces:
            return "A change replaces the resource."
        return "A change updates the resource." if difference.changes else "A change alone is no update."


def input_rows(node: griffe.Class, state: StateKeys) -> Iterator[tuple[str, str]]:
    """Yield the name and type, and the description of each input."""
    descriptions = read_parameters(node)
    for parameter in parameters(node):
        keys = [parameter.name]
        if parameter.name == "credential":
            keys = [key for key in state.inputs if key not in descriptions]
        words = [requirement(parameter, state), capital(descriptions[parameter.name])]
        if parameter.name in state.secrets and "secret" not in words[-1]:
            words.append("Secret.")
        words.append(state.effect_of(keys))
        yield f"`{parameter.name}`<br>{show_type(parameter.annotation)}", " ".join(words).strip()


def requirement(parameter: griffe.Parameter, state: StateKeys) -> str:
    """Return whether an input is required, or its default."""
    if parameter.default is None:
        return "Required."
    default = state.default_of(parameter.name)
    if default is None and parameter.default == "None":
        return "Optional."
    return f"Default `{parameter.default if default is None else default}`."


def output_rows(node: griffe.Class, state: StateKeys | None = None) -> Iterator[tuple[str, str]]:
    """Yield the name and type, and the description of each public attribute, property and method."""
    inputs = {parameter.name for parameter in node.parameters}
    for member in node.members.values():
        if member.name.startswith("_") or "classmethod" in member.labels:
            continue
        text = one_line(member.docstring.value) if member.docstring else ""
        if state and member.name in state.secrets:
            text = f"{text} Secret.".strip()
        if isinstance(member, griffe.Function):
            arguments = ", ".join(parameter.name for parameter in member.parameters if parameter.name != "self")
            yield f"`{member.name}({arguments})`<br>{show_type(member.returns)}", text
        elif isinstance(member, griffe.Attribute) and member.annotation and (member.name not in inputs or text):
            yield f"`{member.name}`<br>{show_type(member.annotation)}", text


def parameters(node: griffe.Class) -> list[griffe.Parameter]:
    """Return the parameters of a constructor without those that every resource has."""
    excluded = {"self"} if "dataclass" in node.labels else {"self", "name", "opts"}
    return [parameter for parameter in node.parameters if parameter.name not in excluded]


def parameter_lines(node: griffe.Class) -> Iterator[str]:
    """Yield the signature of a constructor."""
    is_keyword = False
    for parameter in node.parameters:
        if parameter.name == "self":
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and not is_keyword:
            is_keyword = True
            yield "*"
        default = "" if parameter.default is None else f" = {parameter.default}"
        yield f"{parameter.name}: {short(parameter.annotation)}{default}"


def supporting_types(node: griffe.Class) -> list[str]:
    """Return the public classes among the types of a constructor's parameters."""
    words = re.findall(r"\w+", " ".join(str(parameter.annotation) for parameter in parameters(node)))
    return [word for word in dict.fromkeys(words) if word in thingspace_provider.__all__]


def find_class(name: str) -> griffe.Class:
    """Return a public class as its source code has it."""
    cls = getattr(thingspace_provider, name)
    return cast("griffe.Class", PACKAGE[f"{cls.__module__.removeprefix('thingspace_provider.')}.{name}"])


def read_sections(name: str) -> dict[str, str]:
    """Return the sections of a class's docstring that are text."""
    docstring = find_class(name).docstring
    sections = {"text": "", "Operations": "", "Errors": ""}
    for section in docstring.parsed if docstring else ():
        if section.kind is griffe.DocstringSectionKind.text:
            sections["text"] += section.value
        elif section.kind is griffe.DocstringSectionKind.admonition:
            sections[str(section.title)] = section.value.contents
    return sections


def read_parameters(node: griffe.Class) -> dict[str, str]:
    """Return the description of each parameter in the docstring of a class."""
    return {
        parameter.name: one_line(parameter.description)
        for section in (node.docstring.parsed if node.docstring else ())
        if section.kind is griffe.DocstringSectionKind.parameters
        for parameter in section.value
    }


def read_items(name: str, section: str) -> list[tuple[str, str]]:
    """Return the items `key: text` of a section of a docstring. A text continues on lines that are indented."""
    return [(key, capital(one_line(text))) for key, text in ITEM.findall(read_sections(name)[section])]


def render_errors() -> Iterator[str]:
    """Yield the lines of the page of errors: each class, its meaning, and its hints in the code."""
    yield (
        "# Errors\n\nAn error of a call or a resource operation has an action, the account, a detail and a hint:\n"
        "`<action> failed for account <name>: <detail>. <hint>`. "
        "[Troubleshooting](../troubleshooting.md) explains messages.\n\n"
        "## Calls and resource operations\n\n`…` stands for a value.\n"
    )
    hints: dict[str, list[str]] = {}
    for path in sorted((TOP / "thingspace_provider").rglob("*.py")):
        for name, hint in find_hints(ast.parse(path.read_text(encoding="utf-8"))):
            hints.setdefault(name, []).append(hint)
    errors = list(find_errors(PACKAGE))
    of_users = [error for error in errors if is_for_users(error)]
    rows = (
        (f"`{error.name}`", "<br>• ".join([summary(error), *dict.fromkeys(hints.get(error.name, [MESSAGE_HAS_HINT]))]))
        for error in of_users
    )
    yield from table(("Error", "Meaning, and its hints"), rows)
    yield "## Listener, emulator and commands\n\nThey appear as a message of a command, or are handled inside.\n"
    others = [error for error in errors if error not in of_users]
    yield from table(
        ("Error", "Meaning, and its module"),
        ((f"`{error.name}`", f"{summary(error)}<br>`{error.module.path.partition('.')[2]}`") for error in others),
    )


def find_errors(module: griffe.Object) -> Iterator[griffe.Class]:
    """Yield the public exceptions of the package, in the order of its modules."""
    for _, member in sorted(module.members.items()):
        if isinstance(member, griffe.Module):
            yield from find_errors(member)
    for member in module.members.values():
        if isinstance(member, griffe.Class) and member.is_public and issubclass(import_class(member), Exception):
            yield member


def is_for_users(error: griffe.Class) -> bool:
    """Return whether a call or a resource operation can raise an error."""
    bases = import_class(error).__mro__
    return any(base_class.__name__ in {"ThingSpaceError", "RunError"} for base_class in bases)


def import_class(node: griffe.Class) -> type:
    """Return the class itself."""
    return cast("type", getattr(importlib.import_module(node.module.path), node.name))


def summary(node: griffe.Class) -> str:
    """Return the text of a docstring before its sections, in one line."""
    text = (node.docstring.parsed if node.docstring else [])[:1]
    return one_line(str(text[0].value)) if text else ""


def find_hints(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the class and the hint of each error that a module makes or classifies."""
    constants = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            hint = next((keyword.value for keyword in node.keywords if keyword.arg == "hint"), None)
            if hint is None and len(node.args) > 3:  # noqa: PLR2004  action, account, detail, hint
                hint = node.args[3]
            callee = node.func
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:  # noqa: PLR2004  a class and its hint
            callee, hint = node.elts
        else:
            continue
        name = callee.attr if isinstance(callee, ast.Attribute) else callee.id if isinstance(callee, ast.Name) else ""
        if isinstance(hint, ast.Name):
            hint = constants.get(hint.id)
        text = show_text(hint).strip("… ") if hint is not None else ""
        if text:
            yield name, re.sub(r"\bTHINGSPACE_[A-Z_]*[A-Z]\b", r"`\g<0>`", text)


def show_text(node: ast.expr) -> str:
    """Return a text of the code, with … for each value that is known at run time only."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(show_text(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return show_text(node.left) + show_text(node.right)
    return "…"


def table(heading: tuple[str, ...], rows: Any) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}"
    for row in rows:
        yield f"| {' | '.join(link_documents(cell) for cell in row)} |"
    yield ""


def link_documents(text: str) -> str:
    """Make links of the names of guides."""
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](../\1)", text)


def show_type(annotation: Any) -> str:
    """Return a type in code font; the alternatives of a union are joined with `or`."""
    names = [name for name in split_union(short(annotation)) if name != "None"]
    return " or ".join(f"`{name}`" for name in names).replace(" | ", " or ")


def split_union(text: str) -> list[str]:
    """Split a type at the bars that are outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def short(annotation: Any) -> str:
    """Return a type without the name of the SDK."""
    return str(annotation).replace("pulumi.", "")


def one_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())


def capital(text: str) -> str:
    """Return a sentence with a capital letter and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def main() -> None:
    """Write the pages."""
    for name, text in render_pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
