"""Check that no retired word comes back; tools/retired_words.txt lists the words, and what replaced them.

    python tools/check_glossary.py                           everything, and the commit subjects
    python tools/check_glossary.py docs tests/api            these files and folders only
    python tools/check_glossary.py --names-only --summary    counts per file, of names only

Names are split into words: identifiers, names of files and folders, keys, and strings that consist of one word. Text is
searched for patterns: comments, docstrings, strings, documents, test names and commit subjects. In tests, a string of
one lower-case word is a name only as a key, because elsewhere it is test data. A comment `glossary: allow` exempts its
line; after a string of several lines, it exempts the complete string.
"""

from __future__ import annotations

import argparse
import ast
import bisect
import builtins
import configparser
import fnmatch
import functools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LISTS = Path(__file__).resolve().with_name("retired_words.txt")
INTRODUCED_WITH = "tools/check_glossary.py"

ALLOW = re.compile(r"(?:#|<!--|//|--|/\*)\s*glossary: allow\b")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
TEST_NAME = re.compile(r"test_\w+")
ONE_WORD = re.compile(r"[\w./:{}$%@-]*[A-Za-z][\w./:{}$%@-]*")
BARE_WORD = re.compile(r"[a-z]+")
LINE_BREAK = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:[#>]+[ \t]*)?)"

# Names inside a sentence: snake_case, camelCase, one word in backticks, a quoted key.
NAME_IN_TEXT = re.compile(
    r"(?<!\w)_*[A-Za-z0-9]+(?:_+[A-Za-z0-9]+)+"
    r"|(?<!\w)[A-Za-z][a-z0-9]*(?:[A-Z][a-z0-9]*)+(?!\w)"
    r"|`(?P<span>[\w./:@-]+)`"
    r"|[\"'](?P<key>[\w.-]+)[\"']\s*:"
)
YAML_KEY = re.compile(r"^[ \t]*(?:- )*(?P<key>[A-Za-z_][\w.-]*)[ \t]*(?::(?=\s|$)|=(?!=))", re.MULTILINE)
KEYED_FILES = {".yaml", ".yml", ".toml"}
SQL = re.compile(r"\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|RETURNS|VALUES|PRAGMA)\b")
SQL_NAME = re.compile(r"(?P<comment>--[^\n]*)|\w+")
FENCED = re.compile(r"^[ \t]*```[^\n]*\n(?P<block>.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)

PYTHON_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"""'
    r"|'''(?:[^\\]|\\.)*?'''"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'(?:[^'\\\n]|\\.)*'"
    r"|(?P<comment>#[^\n]*)",
    re.DOTALL,
)
SCRIPT = re.compile(r"<script\b[^>]*>(?P<body>.*?)</script>", re.DOTALL | re.IGNORECASE)
SCRIPT_TOKEN = re.compile(
    r'"(?:[^"\\\n]|\\.)*"'
    r"|'(?:[^'\\\n]|\\.)*'"
    r"|`(?:[^`\\]|\\.)*`"
    r"|(?<!:)//[^\n]*"
    r"|/\*.*?\*/",
    re.DOTALL,
)


@dataclass(frozen=True)
class Hit:
    """A retired word, with the last line of the string or phrase that holds it."""

    line: int
    message: str
    last_line: int


class Glossary:
    """Lists of retired words and of exemptions."""

    def __init__(self, file: Path) -> None:
        """Read the lists and join the patterns, so that most of a text is skipped after one comparison."""
        lists = configparser.RawConfigParser(delimiters=("=>",), comment_prefixes=("#",))
        lists.optionxform = str  # type: ignore[assignment,method-assign]
        lists.read_string(file.read_text(encoding="utf-8"), str(file))
        self.exempt_files = list(lists["exempt files"])
        self.allowed_commits = set(lists["allowed commits"])
        self._names = dict(lists["names"])
        self._allowed_names = set(lists["allowed names"])
        self._suggestions = list(lists["text"].values())
        groups = [f"(?P<p{index}>{pattern})".replace(" ", LINE_BREAK) for index, pattern in enumerate(lists["text"])]
        at_word = [group.replace(r">\b", ">", 1) for group in groups if r">\b" in group]
        others = [group for group in groups if r">\b" not in group]
        self._patterns = [
            re.compile(pattern, re.IGNORECASE | re.MULTILINE)
            for pattern in (rf"\b(?:{'|'.join(at_word)})" if at_word else "", "|".join(others))
            if pattern
        ]
        self._retired_words = functools.lru_cache(maxsize=None)(self._find_words)

    def _find_words(self, name: str) -> tuple[str, ...]:
        words = (word.lower() for word in WORD.findall(name))
        return tuple(word for word in words if word in self._names)

    def in_name(self, name: str, role: str = "{}") -> Iterator[str]:
        """Describe each retired word of a name. The role is `.{}` for an attribute and `{}=` for a keyword argument."""
        words = self._retired_words(name)
        if words and not {name, role.format(name)} & self._allowed_names:
            for word in words:
                yield _describe("word", word, f'name "{name}"', self._names[word])

    def in_text(self, text: str, where: str = "text") -> Iterator[tuple[int, str, str]]:
        """Find each retired phrase of a text: its offset, the phrase as it stands there, and a description."""
        for pattern in self._patterns:
            for match in pattern.finditer(text):
                phrase = re.sub(r"\s*\n[\s#>]*", " ", match[0]).strip(" .;:")
                suggestion = self._suggestions[int((match.lastgroup or "p0")[1:])]
                yield match.start(), match[0], _describe("phrase", phrase, where, suggestion)

    def is_exempt(self, path: str) -> bool:
        """Whether a file holds other people's words."""
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.exempt_files)


def _describe(kind: str, word: str, where: str, suggestion: str | None) -> str:
    return f'retired {kind} "{word}" in {where}' + (f': use "{suggestion}"' if suggestion else "")


class Scan:
    """Hits in one file. A scan of names and a scan of text go through the file together."""

    def __init__(self, glossary: Glossary, source: str) -> None:
        """Begin with no hits."""
        self._glossary = glossary
        self._source = source
        self._lines = source.split("\n")
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", source))]
        self._names: list[Hit] = []
        self._text: list[Hit] = []

    def hits(self, *, names: bool, text: bool) -> list[Hit]:
        """Return the hits that no comment allows, by line."""
        hits = {*(self._names if names else ()), *(self._text if text else ())}
        return sorted((hit for hit in hits if not self._is_allowed(hit)), key=lambda hit: (hit.line, hit.message))

    def _is_allowed(self, hit: Hit) -> bool:
        return any(ALLOW.search(self._lines[line - 1]) for line in (hit.line, hit.last_line))

    def _line_of(self, offset: int) -> int:
        return bisect.bisect_right(self._line_starts, offset)

    def check_name(self, name: str, line: int, last_line: int = 0, role: str = "{}") -> bool:
        """Check a name, or a path or dotted name. The name of a test is a sentence."""
        parts = re.split(r"[/:.]+", name)
        if any(TEST_NAME.fullmatch(part) for part in parts):
            for part in parts:
                sentence = part.replace("_", " ")
                for _, _, message in self._glossary.in_text(sentence, f'test name "{part}"'):
                    self._text.append(Hit(line, message, max(line, last_line)))
            return False
        found = [Hit(line, message, max(line, last_line)) for message in self._glossary.in_name(name, role)]
        self._names += found
        return bool(found)

    def check_prose(self, start: int, end: int, *, keys: bool = False) -> None:
        """Check a part of the source as it stands, for phrases and for the names that it mentions."""
        text = self._source[start:end]
        for offset, phrase, message in self._glossary.in_text(text):
            line = self._line_of(start + offset + len(phrase) - len(phrase.lstrip()))
            self._text.append(Hit(line, message, self._line_of(start + offset + len(phrase) - 1)))
        for name, offset in names_in(text, keys=keys):
            self.check_name(name, self._line_of(start + offset))

    def check_string(self, value: str, line: int, last_line: int, *, is_data: bool = False) -> None:
        """Check the value of a string; hits are looked up in the lines that it was written on."""
        if ONE_WORD.fullmatch(value):
            if not is_data and self.check_name(value, line, last_line):
                return
        else:
            found: dict[str, tuple[int, int]] = {}
            for name, _ in sql_names(value) if SQL.search(value) else names_in(value, keys="\n" in value):
                found[name] = self._locate(name, found.get(name, (line, 0)), last_line)
                self.check_name(name, found[name][0], last_line)
        position = (line, 0)
        for _, phrase, message in self._glossary.in_text(value):
            position = self._locate(phrase.split("\n")[0], position, last_line)
            self._text.append(Hit(position[0], message, last_line))

    def _locate(self, phrase: str, position: tuple[int, int], last_line: int) -> tuple[int, int]:
        line, column = position
        for number in range(line, last_line + 1):
            index = self._lines[number - 1].find(phrase, column if number == line else 0)
            if index >= 0:
                return number, index + len(phrase)
        return position


def names_in(text: str, *, keys: bool) -> Iterator[tuple[str, int]]:
    """Find the names inside a text, with their offsets; with `keys`, also the keys of YAML."""
    for match in NAME_IN_TEXT.finditer(text):
        yield match["span"] or match["key"] or match[0], match.start()
    if keys:
        for match in YAML_KEY.finditer(text):
            yield match["key"], match.start("key")


def sql_names(text: str) -> Iterator[tuple[str, int]]:
    """Find the words of an SQL statement, with their offsets."""
    for match in SQL_NAME.finditer(text):
        if match["comment"] is None:
            yield match[0], match.start()


class PythonScan(Scan):
    """Hits in a Python file."""

    def __init__(self, glossary: Glossary, source: str, own_modules: frozenset[str], *, is_test: bool) -> None:
        """Go through the comments and the syntax tree."""
        super().__init__(glossary, source)
        self._own_modules = own_modules
        self._is_test = is_test
        self._keys: set[ast.AST | None] = set()
        self._foreign_names = set(dir(builtins))
        self._checked: set[ast.AST] = set()
        tree = ast.parse(source)
        self._check_comments()
        nodes = list(ast.walk(tree))  # a parent stands before its children
        checks: dict[type[ast.AST], Callable[[Any], None]] = {
            ast.Name: self._check_identifier,
            ast.Attribute: self._check_attribute,
            ast.Call: self._check_call,
            ast.FunctionDef: self._check_definition,
            ast.AsyncFunctionDef: self._check_definition,
            ast.ClassDef: self._check_definition,
            ast.arg: self._check_argument,
            ast.ExceptHandler: self._check_bound_name,
            ast.MatchAs: self._check_bound_name,
            ast.MatchStar: self._check_bound_name,
            ast.Dict: self._collect_keys,
            ast.Subscript: self._collect_index,
            ast.Constant: self._check_constant,
            ast.JoinedStr: self._check_f_string,
        }
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._check_import(node)
        for node in nodes:
            check = checks.get(type(node))
            if check:
                check(node)

    def _check_comments(self) -> None:
        """Check comments; those on consecutive lines are one text."""
        start = end = last_line = 0
        for match in PYTHON_TOKEN.finditer(self._source):
            if match["comment"] is not None:
                line = self._line_of(match.start())
                alone = not self._source[self._line_starts[line - 1] : match.start()].strip()
                if not (alone and line == last_line + 1):
                    self.check_prose(start, end)
                    start = match.start()
                end, last_line = match.end(), line
        self.check_prose(start, end)

    def _check_import(self, node: ast.Import | ast.ImportFrom) -> None:
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        relative = isinstance(node, ast.ImportFrom) and node.level > 0
        if relative or self._is_own(module):
            self.check_name(module, node.lineno)
        for alias in node.names:
            if relative or self._is_own(module or alias.name):
                self.check_name(alias.name, alias.lineno)
            else:
                self._foreign_names.add(alias.asname or alias.name.split(".")[0])
            if alias.asname:
                self.check_name(alias.asname, alias.lineno)

    def _is_own(self, module: str) -> bool:
        top = module.split(".", maxsplit=1)[0]
        return top in self._own_modules and top not in sys.stdlib_module_names

    def _is_foreign(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self._foreign_names

    def _check_identifier(self, node: ast.Name) -> None:
        if node.id not in self._foreign_names:
            self.check_name(node.id, node.lineno)

    def _check_attribute(self, node: ast.Attribute) -> None:
        if not self._is_foreign(node):
            self.check_name(node.attr, node.end_lineno or node.lineno, role=".{}")

    def _check_call(self, node: ast.Call) -> None:
        if not self._is_foreign(node.func):
            for keyword in node.keywords:
                self.check_name(keyword.arg or "", keyword.lineno, role="{}=")

    def _check_definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.check_name(node.name, node.lineno)

    def _check_argument(self, node: ast.arg) -> None:
        self.check_name(node.arg, node.lineno)

    def _check_bound_name(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar) -> None:
        self.check_name(node.name or "", node.lineno)

    def _collect_keys(self, node: ast.Dict) -> None:
        self._keys.update(node.keys)

    def _collect_index(self, node: ast.Subscript) -> None:
        self._keys.add(node.slice)

    def _check_constant(self, node: ast.Constant) -> None:
        if node not in self._checked and isinstance(node.value, str | bytes):
            value = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            is_data = self._is_test and node not in self._keys and BARE_WORD.fullmatch(value) is not None
            self.check_string(value, node.lineno, node.end_lineno or node.lineno, is_data=is_data)

    def _check_f_string(self, node: ast.JoinedStr) -> None:
        parts = []
        for part in node.values:
            if isinstance(part, ast.Constant):
                self._checked.add(part)
                parts.append(str(part.value))
            else:
                parts.append("{}")
        self.check_string("".join(parts), node.lineno, node.end_lineno or node.lineno)


class DocumentScan(Scan):
    """Hits in any other file: a document, a page, a configuration file or a shell script."""

    def __init__(self, glossary: Glossary, source: str, suffix: str) -> None:
        """Check everything as text, except the JavaScript of a page: only its strings and comments."""
        super().__init__(glossary, source)
        start = 0
        for script in SCRIPT.finditer(source) if suffix == ".html" else ():
            self.check_prose(start, script.start("body"))
            for token in SCRIPT_TOKEN.finditer(source, script.start("body"), script.end("body")):
                self.check_prose(token.start(), token.end())
                if ONE_WORD.fullmatch(token[0][1:-1]):
                    self.check_name(token[0][1:-1], self._line_of(token.start()))
            start = script.end("body")
        self.check_prose(start, len(source), keys=suffix in KEYED_FILES)
        for block in FENCED.finditer(source) if suffix == ".md" else ():
            for key in YAML_KEY.finditer(source, block.start("block"), block.end("block")):
                self.check_name(key["key"], self._line_of(key.start("key")))


class Tree:
    """The files of the project."""

    def __init__(self, folder: Path, glossary: Glossary) -> None:
        """Find the top folder around a folder, and the files that git tracks or would track."""
        self._glossary = glossary
        self.top = next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)
        listed = self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        if listed is None:
            paths = (path.relative_to(self.top).as_posix() for path in self.top.rglob("*"))
            listed = "\0".join(path for path in paths if not re.search(r"(^|/)(\.|build/)", path))
        self.paths = sorted({path for path in listed.split("\0") if path and (self.top / path).is_file()})
        python = [Path(path) for path in self.paths if path.endswith(".py")]
        self._own_modules = frozenset({part for path in python for part in (*path.parent.parts, path.stem)})

    def _git(self, *arguments: str) -> str | None:
        try:
            run = subprocess.run(["git", "-C", self.top, *arguments], check=False, capture_output=True, text=True)
        except FileNotFoundError:
            return None
        return run.stdout if run.returncode == 0 else None

    def under(self, folders: list[Path]) -> list[str]:
        """Return the paths below some folders; all of them if none is given."""
        wanted = [Path(os.path.relpath(folder, self.top)).as_posix() for folder in folders]
        for folder in wanted:
            if not any(is_below(path, folder) for path in self.paths):
                raise FileNotFoundError(f"{folder}: no file of the project")
        return [path for path in self.paths if not wanted or any(is_below(path, folder) for folder in wanted)]

    def file_hits(self, path: str, *, names: bool, text: bool) -> list[Hit]:
        """Check the content of a file."""
        content = (self.top / path).read_bytes()
        if b"\0" in content:
            return []
        source = content.decode("utf-8", "replace")
        try:
            scan: Scan = (
                PythonScan(self._glossary, source, self._own_modules, is_test=path.startswith("tests/"))
                if path.endswith(".py")
                else DocumentScan(self._glossary, source, Path(path).suffix)
            )
        except SyntaxError as error:
            return [Hit(error.lineno or 1, f"cannot be parsed: {error.msg}", error.lineno or 1)]
        return scan.hits(names=names, text=text)

    def commit_hits(self) -> Iterator[str]:
        """Check the subjects of the commits since this check exists, if the clone holds them."""
        if self._git("rev-parse", "--is-shallow-repository") == "true\n":
            print("commit subjects are not checked: this clone is shallow", file=sys.stderr)
            return
        first = (self._git("log", "--diff-filter=A", "--format=%H", "--", INTRODUCED_WITH) or "").split()
        if not first:
            return
        later = self._git("log", "--no-merges", "--ancestry-path", "--format=%H %s", f"{first[-1]}..HEAD") or ""
        introduced = self._git("log", "-1", "--format=%H %s", first[-1]) or ""
        for commit in (later + introduced).splitlines():
            identifier, _, subject = commit.partition(" ")
            if identifier not in self._glossary.allowed_commits:
                for _, _, message in self._glossary.in_text(subject, "the commit subject"):
                    yield f"commit {identifier[:10]}: {message}"


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a file or folder, or is inside it."""
    return folder in (".", path) or path.startswith(folder + "/")


def find_hits(folders: list[Path], *, names: bool, text: bool) -> Iterator[tuple[str, str]]:
    """Check files and, if no folders are given, commit subjects; yield the path and the line to print."""
    glossary = Glossary(LISTS)
    tree = Tree(Path.cwd(), glossary)
    seen: set[str] = set()
    for path in tree.under(folders):
        if glossary.is_exempt(path):
            continue
        for name in path_names(path, seen) if names else ():
            for message in glossary.in_name(Path(name).name):
                yield name, f"{name}:1: {message}"
        for hit in tree.file_hits(path, names=names, text=text):
            yield path, f"{path}:{hit.line}: {hit.message}"
    if text and not folders:
        for message in tree.commit_hits():
            yield "commits", message


def main() -> int:
    """Print each hit and a count. The exit code is 1 when there are hits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--names-only", action="store_true", help="check names only")
    kind.add_argument("--text-only", action="store_true", help="check text only")
    parser.add_argument("--summary", action="store_true", help="print the number of hits per file instead of each")
    parser.add_argument("path", nargs="*", type=Path, help="check these files and folders only, and no commits")
    options = parser.parse_args()
    try:
        hits = list(find_hits(options.path, names=not options.text_only, text=not options.names_only))
    except FileNotFoundError as error:
        parser.error(str(error))
    counts = Counter(path for path, _ in hits)
    for line in (
        (f"{count:6} {path}" for path, count in counts.most_common()) if options.summary else (line for _, line in hits)
    ):
        print(line)
    if hits:
        print(f"{len(hits)} retired words in {len(counts)} files")
    return 1 if hits else 0


def path_names(path: str, seen: set[str]) -> list[str]:
    """Return a path and the folders around it, as far as they were not seen before."""
    parts = path.split("/")
    paths = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    fresh = [each for each in paths if each not in seen]
    seen.update(fresh)
    return fresh


if __name__ == "__main__":
    sys.exit(main())
