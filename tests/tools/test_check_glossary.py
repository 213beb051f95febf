"""Each rule of the check for retired words can fail, and each exemption holds."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parent.parent.parent / "tools" / "check_glossary.py"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHECK, *arguments], cwd=folder, check=False, capture_output=True, text=True, timeout=60
    )


def check(folder: Path, path: str, content: str, *arguments: str) -> list[str]:
    """Write one file, check the folder, and return the hits without their suggestions."""
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    result = run(folder, *arguments)
    hits = [re.sub(r': use ".*"$', "", line) for line in result.stdout.splitlines()[:-1]]
    assert (result.returncode, result.stderr) == (1 if hits else 0, "")
    return hits


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Example", "-c", "user.email=example@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("class QueueHealer: ...", "QueueHealer"),
        ("def answer_json(): ...", "answer_json"),
        ("async def ask(): ...", "ask"),
        ("def run(*, patience): ...", "patience"),
        ("LONGEST_PAUSE = 3", "LONGEST_PAUSE"),
        ("run = lambda lane: 1", "lane"),
        ("entry.parcel = 1", "parcel"),
        ("print(entry.parcel)", "parcel"),
        ("self.run(remedy=1)", "remedy"),
        ("for place in (): ...", "place"),
        ("try: ...\nexcept OSError as trouble: ...", "trouble"),
        ("match 1:\n    case whole: ...", "whole"),
        ("match 1:\n    case [*parcels]: ...", "parcels"),
        ("import json as wire", "wire"),
        ("from .healing import run", "healing"),
        ("from . import healer", "healer"),
        ('SETTINGS = {"healAfterSeconds": 900}', "healAfterSeconds"),
        ('METRIC = "thingspace_callbacks_refused_total"', "thingspace_callbacks_refused_total"),
        ('EVENT = "refused"', "refused"),
        ('BODY = b"refused"', "refused"),
        ('PATH = f"/v1/{EVENT}/parcels"', "/v1/{}/parcels"),
        ('FOLDER = "refused-logins"', "refused-logins"),
        ('OPTION = "--remedy"', "--remedy"),
        ('SQL = "SELECT message FROM outbox WHERE asked < 1"', "asked"),
        ('BODY = \'{"remedy": "wait"}\'', "remedy"),
        ('SETTINGS = """\nremedy: wait\n"""', "remedy"),
        ('MESSAGE = "Set THINGSPACE_RETRY_REFUSED_LOGIN to continue."', "THINGSPACE_RETRY_REFUSED_LOGIN"),
        ("# See is_elsewhere for the reason.", "is_elsewhere"),
        ('"""The `remedy` is printed."""', "remedy"),
    ],
)
def test_name_in_python_is_reported_when_it_holds_a_retired_word(tmp_path: Path, source: str, name: str) -> None:
    [hit] = check(tmp_path, "code.py", f"\n{source}\n", "--names-only")
    last_word = re.findall(r"\w+", name)[-1]
    line = next(number for number, text in enumerate(source.splitlines(), 2) if last_word in text)
    assert re.fullmatch(rf'code\.py:{line}: retired word "[a-z]+" in name "{re.escape(name)}"', hit)


@pytest.mark.parametrize("path", ["listener/healing/run.py", "refused_logins.py", "docs/healing.md", "lanes.sql"])
def test_path_is_reported_once_when_a_file_or_folder_has_a_retired_name(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).with_name("other.md").touch()
    [hit] = check(tmp_path, path, "")
    assert re.match(r'[\w/.]*:1: retired word "[a-z]+" in name "', hit)


@pytest.mark.parametrize(
    ("path", "content", "line"),
    [
        ("settings.yaml", "accounts:\n  - heal: 1", 2),
        ("settings.toml", "[listener]\nremedy = 1", 2),
        ("state.json", '{\n"place": 1}', 2),
        ("guide.md", "# Guide\nSet `remedy` to one.", 2),
        ("guide.md", "# Guide\n```yaml\nremedy: one\n```", 3),
        ("page.html", "<script>\nset('remedy', one.place);\n</script>", 2),
    ],
)
def test_name_in_another_file_is_reported_when_it_is_a_key_or_quoted(
    tmp_path: Path, path: str, content: str, line: int
) -> None:
    [hit] = check(tmp_path, path, content, "--names-only")
    assert hit.startswith(f"{path}:{line}: retired word ")


@pytest.mark.parametrize(
    ("path", "content", "line", "phrase"),
    [
        ("code.py", "x = 1  # Deletes rows now and then.", 1, "now and then"),
        ("code.py", "# Deletes rows now\n# and then.", 1, "now and then"),
        ("code.py", '"""Module.\n\nDeletes rows now\nand then.\n"""', 3, "now and then"),
        ("code.py", 'print("the rows",\n"tried"\n" again")', 2, "tried again"),
        ("code.py", 'print(f"{1} rows tried again")', 1, "tried again"),
        ("code.py", 'print(b"rows tried again")', 1, "tried again"),
        ("code.py", "def test_rows_are_deleted_now_and_then(): ...", 1, "now and then"),
        ("guide.md", "# Guide\n\nRows are deleted now\nand then.", 3, "now and then"),
        ("guide.md", "See `tests/test_rows.py::test_rows_are_deleted_now_and_then`.", 1, "now and then"),
        ("page.html", "<p>\nNobody is here.</p>", 2, "Nobody"),
        ("page.html", "<script>\nshow('No texts.', texts.length); // texts", 2, "texts"),
        ("page.html", "<script>\nshow('No texts.', texts.length);</script>", 2, "texts"),
        ("stack.yaml", "# Rows are tried again", 1, "tried again"),
        ("Makefile", "check:  ## what was said", 1, "what was said"),
        ("run.sh", "echo 'The logins are given up'", 1, "given up"),
    ],
)
def test_text_is_reported_when_it_holds_a_retired_phrase(
    tmp_path: Path, path: str, content: str, line: int, phrase: str
) -> None:
    hits = check(tmp_path, path, content, "--text-only")
    assert hits
    assert all(hit.startswith(f'{path}:{line}: retired phrase "{phrase}" in ') for hit in hits)


def test_every_word_of_the_list_is_found_in_a_name(tmp_path: Path) -> None:
    words = list(lists()["names"])
    hits = check(tmp_path, "code.py", "\n".join(f"new_{word}_old = 1" for word in words))
    assert hits == [
        f'code.py:{line}: retired word "{word}" in name "new_{word}_old"' for line, word in enumerate(words, 1)
    ]


def test_every_pattern_of_the_list_is_found_in_text(tmp_path: Path) -> None:
    phrases = [example(pattern) for pattern in lists()["text"]]
    hits = check(tmp_path, "guide.md", "\n\n".join(phrases), "--text-only")
    assert {int(hit.split(":")[1]) for hit in hits} == set(range(1, 2 * len(phrases), 2))


def lists() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(delimiters=("=>",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(CHECK.with_name("retired_words.txt"), encoding="utf-8")
    return parser


def example(pattern: str) -> str:
    """Return a text that a pattern matches: the first choice of each group."""
    text = pattern.replace("(^|[.;:] )", "").replace(r"\b", "")
    while "(" in text:
        text = re.sub(r"\(([^()|]*)[^()]*\)\??", r"\1", text)
    return re.sub(r".\?", "", text)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("code.py", "answer = 1  # glossary: allow"),
        ("code.py", "x = 1  # Deletes rows now and then. # glossary: allow"),
        ("code.py", 'x = """\nDeletes rows now and then.\n"""  # glossary: allow'),
        ("code.py", 'x = """\nSELECT asked FROM outbox -- glossary: allow\n"""'),
        ("guide.md", "Rows are tried again. <!-- glossary: allow -->"),
        ("guide.md", "Rows are tried\nagain. <!-- glossary: allow -->"),
        ("page.html", "<p>Rows are tried again.</p> <!-- glossary: allow -->"),
        ("settings.yaml", "place: 1  # glossary: allow"),
    ],
)
def test_line_is_skipped_when_a_comment_allows_it(tmp_path: Path, path: str, content: str) -> None:
    assert check(tmp_path, path, content) == []
    assert check(tmp_path, path, re.sub(r"\S+ glossary: allow", "", content))


@pytest.mark.parametrize(
    "path",
    [
        "LICENSE",
        "docs/THIRD-PARTY-NOTICES.txt",
        "requirements-dev.txt",
        "requirements-oldest.txt",
        "tools/cli/go.mod",
        "tools/cli/go.sum",
        "tests/providers/states/0.1.0.json",
        "tests/listener/data/version-1.sql",
        "tools/retired_words.txt",
    ],
)
def test_file_is_skipped_when_it_holds_foreign_words(tmp_path: Path, path: str) -> None:
    assert check(tmp_path, path, "Provide proof of ours: the refused_logins are tried again.") == []


@pytest.mark.parametrize(
    "source",
    [
        "import foreign_package\nforeign_package.ask(patience=1)",
        "import json.wire\njson.wire.answer(patience=1)",
        "from foreign_package import Healer\nclass Server(Healer): ...\nHealer(remedy=1)",
        "file = open('x')\nfile.tell()",
        "from collections import Counter\ncounts = Counter()\ncounts.most_common()",
        "except_ = ConnectionRefusedError",
    ],
)
def test_name_is_skipped_when_another_library_defines_it(tmp_path: Path, source: str) -> None:
    assert check(tmp_path, "code.py", source) == []


def test_name_is_skipped_when_the_standard_library_has_a_module_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "platform.py").touch()
    assert check(tmp_path, "code.py", "import platform\nplatform.answer()") == []


def test_name_is_reported_when_the_imported_module_belongs_to_the_project(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "errors.py").touch()
    hits = check(tmp_path, "code.py", "from package.errors import Refused\nRefused(remedy=1)")
    assert [hit.split('"')[3] for hit in hits] == ["Refused", "Refused", "remedy"]


def test_allowed_attribute_is_reported_when_it_is_a_function_of_the_project(tmp_path: Path) -> None:
    assert check(tmp_path, "code.py", "def tell(): ...") == ['code.py:1: retired word "tell" in name "tell"']


def test_name_is_skipped_when_it_is_a_test_function(tmp_path: Path) -> None:
    assert check(tmp_path, "code.py", "def test_the_answer_is_refused(): ...") == []


def test_lower_case_word_in_a_test_is_data_unless_it_is_a_key(tmp_path: Path) -> None:
    assert check(tmp_path, "tests/test_code.py", 'post("kept", ["shown"])') == []
    assert len(check(tmp_path, "tests/test_code.py", 'post({"kept": 1}["shown"])')) == 2
    assert len(check(tmp_path, "tests/test_code.py", 'post("kept_messages")')) == 1


def test_word_is_found_only_as_a_complete_word(tmp_path: Path) -> None:
    assert check(tmp_path, "code.py", "healthy = almost = replaced = pacemaker = 1  # context, island") == []


def test_comment_in_sql_is_text(tmp_path: Path) -> None:
    assert check(tmp_path, "code.py", 'SQL = """SELECT id -- the last answer of the server\nFROM messages"""') == []


def test_script_identifiers_are_skipped(tmp_path: Path) -> None:
    assert check(tmp_path, "page.html", "<script>\nconst patience = texts.length;\n</script>") == []


def test_binary_file_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "inbox.sqlite3").write_bytes(b"\0\xfftried again")
    assert run(tmp_path).returncode == 0


def test_hit_is_printed_with_path_line_word_and_replacement(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("class Healer: ...  # Runs now and then.\n")
    result = run(tmp_path)
    assert result.stdout.splitlines() == [
        'code.py:1: retired phrase "now and then" in text: use "the interval"',
        'code.py:1: retired word "healer" in name "Healer": use "recovery"',
        "2 retired words in 1 files",
    ]


def test_only_one_kind_is_reported_when_an_option_selects_it(tmp_path: Path) -> None:
    source = "class Healer: ...  # Runs now and then.\n"
    assert [hit.split()[2] for hit in check(tmp_path, "code.py", source, "--names-only")] == ["word"]
    assert [hit.split()[2] for hit in check(tmp_path, "code.py", source, "--text-only")] == ["phrase"]


def test_summary_counts_hits_per_file(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("answer = 1\n")
    (tmp_path / "two.py").write_text("answer = 1\nplace = 2\n")
    assert run(tmp_path, "--summary").stdout.split("\n") == [
        "     2 two.py",
        "     1 one.py",
        "3 retired words in 2 files",
        "",
    ]


def test_only_some_folders_are_checked_when_paths_are_given(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text("Rows are tried again.")
    (tmp_path / "docs2.md").write_text("Rows are tried again.")
    assert run(tmp_path, "docs").stdout.count("\n") == 2
    assert run(tmp_path, "docs/guide.md", str(tmp_path / "docs2.md")).stdout.count("\n") == 3


def test_path_is_rejected_when_the_project_has_no_such_file(tmp_path: Path) -> None:
    result = run(tmp_path, "missing")
    assert (result.returncode, result.stdout) == (2, "")
    assert "missing: no file of the project" in result.stderr


def test_file_that_is_no_python_is_reported(tmp_path: Path) -> None:
    [hit] = check(tmp_path, "code.py", "x = 1\ndef")
    assert hit.startswith("code.py:2: cannot be parsed: ")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose second commit introduces the check, with a retired phrase in the first and the third."""
    folder = tmp_path / "repository"
    (folder / "tools").mkdir(parents=True)
    git(folder, "init", "-b", "main")
    git(folder, "commit", "--allow-empty", "-m", "Try again")
    (folder / "tools" / "check_glossary.py").touch()
    git(folder, "add", ".")
    git(folder, "commit", "-m", "Check the glossary")
    git(folder, "commit", "--allow-empty", "-m", "Try again\n\nThe body may say: now and then.")
    return folder


def test_commit_subject_is_reported_when_it_is_newer_than_the_check(repository: Path) -> None:
    assert re.fullmatch(
        r'commit [0-9a-f]{10}: retired phrase "Try again" in the commit subject: use "retry"\n'
        r"1 retired words in 1 files\n",
        run(repository).stdout,
    )
    assert run(repository, "--names-only").stdout == ""
    assert run(repository, "tools").stdout == ""


def test_commit_subject_is_reported_when_its_commit_introduces_the_check(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "check_glossary.py").touch()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "Check it now and then")
    assert "commit subject" in run(tmp_path).stdout


def test_commit_subject_is_skipped_when_its_branch_is_older_than_the_check(repository: Path) -> None:
    git(repository, "reset", "--hard", "HEAD~1")
    git(repository, "switch", "-c", "older", "HEAD~1")
    git(repository, "commit", "--allow-empty", "-m", "Try again")
    git(repository, "switch", "main")
    git(repository, "merge", "--no-ff", "-m", "Merge what was said", "older")
    assert run(repository).stdout == ""


def test_commit_subject_is_skipped_when_the_list_allows_it(tmp_path: Path, repository: Path) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    copy = tmp_path / "tool" / CHECK.name
    copy.parent.mkdir()
    copy.write_bytes(CHECK.read_bytes())
    words = CHECK.with_name("retired_words.txt").read_text(encoding="utf-8")
    copy.with_name("retired_words.txt").write_text(f"{words}{commit.stdout.strip()} => published\n", encoding="utf-8")
    assert subprocess.run([sys.executable, copy], cwd=repository, check=False, timeout=60).returncode == 0


def test_commit_subjects_are_skipped_when_the_clone_is_shallow(tmp_path: Path, repository: Path) -> None:
    git(tmp_path, "clone", "--depth", "1", repository.as_uri(), "clone")
    result = run(tmp_path / "clone")
    assert (result.returncode, result.stdout) == (0, "")
    assert "commit subjects are not checked" in result.stderr


def test_ignored_files_are_skipped_and_new_ones_are_not(repository: Path) -> None:
    (repository / ".gitignore").write_text("build/\n")
    (repository / "build").mkdir()
    (repository / "build" / "code.py").write_text("answer = 1\n")
    (repository / "code.py").write_text("answer = 1\n")
    assert [line.split(":")[0] for line in run(repository, "--names-only").stdout.splitlines()[:-1]] == ["code.py"]
