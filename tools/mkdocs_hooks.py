"""MkDocs hooks: one set of Markdown files for repository pages and for the site.

The site has pages for the Markdown files at the top of the repository. Links are written for repository pages; here
they become links between pages of the site. A link to another file of the repository becomes plain text, because the
site does not contain that file. A missing target is left alone, and MkDocs reports it.

The site also has a page with the help of every command, made from the commands themselves, and a page for each example
with the text of its files.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from thingspace_provider.cli import main

TOP = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md"} | {
    f"{name}.md": f"{name.lower()}.md"
    for name in ("ARCHITECTURE", "DECISIONS", "CHANGELOG", "CONTRIBUTING", "SECURITY")
}
EXAMPLES = {f"examples/{path.parent.name}": path.parent for path in sorted((TOP / "examples").glob("*/README.md"))}
PAGES |= {"examples/README.md": "examples/index.md"} | {f"{name}/README.md": f"{name}.md" for name in EXAMPLES}
COMMANDS_PAGE = "reference/commands.md"
SOURCES = {page: source for source, page in PAGES.items()}
FENCE = re.compile(r"^(```|~~~).*?^\1[ ]*$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")
EXTERNAL = re.compile(r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+href=[\"']?(?:https?:)?//")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the Markdown files outside docs/, the files of the examples, and the page of commands."""
    for source, page in PAGES.items():
        content = (TOP / source).read_text(encoding="utf-8")
        if folder := EXAMPLES.get(posixpath.dirname(source)):
            content += "\n" + "\n".join(["## Files\n", *files_of_example(folder)])
        files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, COMMANDS_PAGE, content="\n".join(["# Commands\n", *help_of_commands()])))
    return files


def files_of_example(folder: Path) -> Iterator[str]:
    """Yield the files of an example, each as a heading and its text."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".py", ".yaml", ".txt"} and not any(part.startswith(".") for part in path.parts):
            yield f"### {path.relative_to(folder)}\n\n```{path.suffix[1:]}\n{path.read_text(encoding='utf-8')}```\n"


def help_of_commands() -> Iterator[str]:
    """Yield one section for each command and subcommand, with its `--help`."""
    pending: list[tuple[click.Command, click.Context]] = [(main, click.Context(main, info_name="thingspace"))]
    while pending:
        command, context = pending.pop(0)
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            children = [(command.get_command(context, name), name) for name in command.list_commands(context)]
            pending[:0] = [
                (child, click.Context(child, parent=context, info_name=name, max_content_width=100))
                for child, name in children
                if child
            ]


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Translate links and lists for the site."""
    del config, files
    return translate(markdown, page.file.src_uri)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Reject a page that loads anything from another host."""
    del config
    if external := EXTERNAL.search(output):
        raise PluginError(f"{page.file.src_uri} loads a file from another host: {external.group()}")
    return output


def translate(markdown: str, page: str) -> str:
    """Translate the Markdown of a repository page into that of a page of the site, except in fenced code."""
    source = SOURCES.get(page, f"docs/{page}")
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [_translate_prose(markdown[end : fence.start()], source, page), fence.group()]
        end = fence.end()
    return "".join([*parts, _translate_prose(markdown[end:], source, page)])


def _translate_prose(text: str, source: str, page: str) -> str:
    def replace(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["path"]))
        if target in PAGES:
            target = PAGES[target]
        elif target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif (TOP / target).exists():
            return link["text"]
        else:
            return link.group()
        return f"[{link['text']}]({posixpath.relpath(target, posixpath.dirname(page) or '.')}{link['anchor'] or ''})"

    return _indent_list_items(LINK.sub(replace, text).replace("<details>", '<details markdown="1">'))


def _indent_list_items(text: str) -> str:
    """Indent further paragraphs of an ordered list item by four spaces, as Python-Markdown requires."""
    lines: list[str] = []
    in_item = has_paragraphs = False
    for line in text.split("\n"):
        if re.match(r"\d+\. ", line):
            if has_paragraphs and lines[-1]:
                lines.append("")
            in_item, has_paragraphs = True, False
        elif not line.strip():
            has_paragraphs = in_item
        elif not line.startswith("   "):
            in_item = has_paragraphs = False
        lines.append(f" {line}" if in_item and line.startswith("   ") else line)
    return "\n".join(lines)
