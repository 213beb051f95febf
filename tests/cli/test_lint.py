"""`thingspace lint` finds what is wrong in a stack file, where it stands, and says how it would be right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from thingspace_provider.cli import main
from thingspace_provider.config.stack_schema import KNOWN_KEYS

TOP = Path(__file__).resolve().parent.parent.parent
HEAD = 'config:\n  thingspace:accounts: ["0000123456-00001"]\n'
GOOD = HEAD + "  thingspace:listener: {kind: external, url: https://sms.example.com/x}\n"
KUBERNETES = (
    HEAD + "  thingspace:listener:\n    kind: kubernetes\n    image: listener:1\n    host: sms.example.com\n"
    "    store: {secure: v1:abcdefgh:ijklmnop=}\n"
)
SQLITE = KUBERNETES.replace("secure: v1:abcdefgh:ijklmnop=", "size: 1Gi")
LOCAL = "config:\n  thingspace:baseUrl: http://127.0.0.1:8700/api\n  thingspace:listener: {kind: local}\n"


def lint(folder: Path, **stacks: str | bytes) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and findings for stack files of these names and contents."""
    for name, content in stacks.items():
        file = folder / f"Pulumi.{name}.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = CliRunner().invoke(main, ["lint", str(folder), "--json"])
    assert done.exit_code in {0, 1}, done.output
    assert "sentinel" not in done.output
    return done.exit_code, json.loads(done.output)["findings"]


def test_the_stack_files_of_this_project_are_clean() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "thingspace_provider.cli", "lint"], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 stack files: no findings\n", "")


@pytest.mark.parametrize(
    ("content", "line", "column", "message", "fix"),
    [
        (LOCAL + "  thingspace:accounts:\n    - 0000123456\n", 5, 7, "0000123456 is not quoted", '"0000123456"'),
        (LOCAL + "  thingspace:accounts: [12_3]\n", 4, 25, "reads it as 123", '"12_3"'),
        (LOCAL + "  thingspace:accounts: [0000123456]\n", 4, 25, "engine reads it as 42798", 'Write "0000123456".'),
        (LOCAL + "  thingspace:accounts: [1234567890]\n", 4, 25, "reads it as a number", 'Write "1234567890".'),
        (LOCAL + "  thingspace:accounts: [42798]\n", 4, 25, "leading zeros", '"0000042798" or "0000123456"'),
        (LOCAL + "  thingspace:accounts: [12345]\n", 4, 25, "leading zeros", 'It can be "0000030071".'),
        (LOCAL + "  thingspace:accounts: [1.5]\n", 4, 25, "as a number or another value", 'Write "1.5".'),
        (LOCAL + "  thingspace:accounts: [true]\n", 4, 25, "as a number or another value", 'Write "true".'),
        (LOCAL + "  thingspace:accounts: [yes]\n", 4, 25, "yes is text to the engine", '"yes"'),
        (LOCAL + '  thingspace:accounts: ["1", "1"]\n', 4, 30, "names 1 more than once", "for example"),
        (LOCAL + "  thingspace:accounts: 1\n", 4, 3, "it must be a list", "0000123456-00001"),
        (
            LOCAL + """  thingspace:accounts: '["\\ud800", "\\ud800"]'\n""",
            4,
            3,
            "it must be a list",
            "0000123456-00001",
        ),
        (LOCAL + '  thingspace:accounts: ["a b"]\n', 4, 25, "must not contain spaces", "for example"),
        (LOCAL, 1, 1, "thingspace:accounts is missing", "0000123456-00001"),
        ("config: {thingspace:adopt: true}\n", 1, 1, "thingspace:accounts is missing", "0000123456-00001"),
        ("config: {thingspace:acounts: []}\n", 1, 1, "thingspace:accounts is missing", "0000123456-00001"),
        (HEAD, 1, 1, "thingspace:listener is missing", "kind: external"),
        (HEAD + "  thingspace:listener:\n    kind: lambda\n", 4, 5, "local, external or kubernetes", "kind: local"),
        (HEAD + "  thingspace:listener: {kind: external}\n", 3, 3, "listener.url is missing", "https://sms"),
        (HEAD + "  thingspace:listener:\n    kind: external\n    url: nonsense\n", 5, 5, "http", "https://sms"),
        (HEAD + "  thingspace:listener: {kind: external, url: https://x.example.com:8443/}\n", 3, 41, "8443", "https"),
        (LOCAL.replace("local", "local, port: 8080"), 3, 38, "8080, which ThingSpace rejects; it accepts 80", "28200"),
        (LOCAL.replace("local", "local, prot: 80"), 3, 38, "did you mean port?", "for example"),
        (HEAD + "  thingspace:listener: {kind: local}\n", 3, 25, "cannot reach a process", "thingspace:baseUrl"),
        (GOOD.replace("https://", "http://"), 3, 41, "plain http", "https://"),
        (GOOD.replace("-00001", '-00001", "2'), 3, 41, "the same for 2 accounts", "{account}"),
        (
            GOOD.replace("https://sms.example.com/x", '"https://sms.example.com/{acount}"'),
            3,
            41,
            "holds {acount}, which is not replaced",
            "{account}",
        ),
        (
            HEAD + "  thingspace:listener: {kind: kubernetes, host: a.b}\n",
            3,
            3,
            "listener.store is missing",
            "{size: 1Gi}",
        ),
        (KUBERNETES + "    replica: 2\n", 8, 5, "did you mean replicas?", "for example"),
        (KUBERNETES.replace("sms.", "https://sms."), 6, 5, "must be a DNS name", "host: sms.example.com"),
        (KUBERNETES + "    replicas: 0\n", 8, 5, "must be a whole number from 1", "replicas: 2"),
        (SQLITE + "    replicas: 2\n", 8, 5, "cannot share a SQLite store", "replicas: 2"),
        (SQLITE.replace("size:", "sise:"), 7, 13, "listener.store.sise cannot be set here; did you mean size?", "1Gi"),
        (KUBERNETES + "    ingress: {tlsSecret: a, issuer: b}\n", 8, 29, "and tlsSecret are both set", "className"),
        (KUBERNETES + "    ingress: {annotations: {a: true}}\n", 8, 15, "has a without text: quote", "className"),
        (KUBERNETES + "    ingress: {issuerKind: issuer}\n", 8, 15, "must be ClusterIssuer or Issuer", "className"),
        (KUBERNETES + "    ingress: {}\n    gateway: {name: a}\n", 9, 5, "and ingress are both set", "name: public"),
        (KUBERNETES + "    gateway: {namespace: a}\n", 8, 5, "gateway.name is missing", "name: public"),
        (KUBERNETES + "    settings: {port: 80}\n", 8, 16, "settings.port cannot be set here", "retentionDays"),
        (KUBERNETES + "    recoveryMode: history\n", 3, 3, "recoveryCredentials must be set", "for example"),
        (KUBERNETES + "    apiToken: sentinel\n", 8, 5, "in plain text", "--path thingspace:listener.apiToken"),
        (
            KUBERNETES + "    recoveryCredentials: {appKey: sentinel}\n",
            8,
            27,
            "in plain text",
            "--path thingspace:listener.recoveryCredentials.appKey",
        ),
        (
            KUBERNETES + "    sinks: [{kind: http, signingSecrets: [sentinel]}]\n",
            8,
            26,
            "in plain text",
            "--path thingspace:listener.sinks[0].signingSecrets",
        ),
        (
            SQLITE.replace("{size: 1Gi}", "postgresql://u:sentinel@db/d"),
            7,
            5,
            "in plain text",
            "--path thingspace:listener.store",
        ),
        (GOOD + "  thingspace:acounts: []\n", 4, 3, "did you mean thingspace:accounts?", "Correct"),
        (GOOD + "  thingspace-provider:adopt: true\n", 4, 3, "has no effect", "thingspace:adopt"),
        (GOOD + "  adopt: true\n", 4, 3, "has no effect", "thingspace:adopt"),
        (GOOD + "thingspace:adopt: true\n", 4, 1, "not a key of a stack file", "below config:"),
        (GOOD + "  1: x\n", 4, 3, "rejects the key 1", "for example"),
        (GOOD + "  aws:a:b: x\n", 4, 3, "rejects the key aws:a:b", "for example"),
        (GOOD + "encryptionsaltt: x\n", 4, 1, "not a key of a stack file", "encryptionsalt"),
        (GOOD + "  thingspace:adopt: sometimes\n", 4, 3, "must be true or false", "thingspace:adopt: false"),
        (GOOD + "  thingspace:profile: plant-a\n", 4, 3, "letters, digits and _", "plant_a"),
        (GOOD + "  thingspace:profiles: {plant-a: {username: x}}\n", 4, 25, "letters, digits and _", "plant_a"),
        (GOOD + "  thingspace:profiles:\n    one: {user: x}\n", 5, 11, "did you mean username?", "for example"),
        (
            GOOD + "  thingspace:rotation: 1\n  thingspace:rotation: 2\n",
            5,
            3,
            "again, after line 4",
            "Keep one of them",
        ),
        (GOOD + "  thingspace:resourceTimeoutSeconds: .inf\n", 4, 38, "cannot read this value", "Quote"),
        (GOOD + "  thingspace:adopt: !!bool yes\n", 4, 21, "cannot read this value", "Quote"),
        (GOOD + "  thingspace:rotation: !!int ''\n", 4, 24, "cannot read this value", "Quote"),
        (GOOD + "  thingspace:triggers: [!!timestamp abc]\n", 4, 25, "cannot read this value", "Quote"),
        (GOOD + "  thingspace:profiles: {? [a] : {}}\n", 4, 27, "cannot be a key", "Correct"),
        (GOOD + f"  thingspace:resourceTimeoutSeconds: 0x{'f' * 6000}\n", 4, 3, "must be a number", "300"),
        (GOOD + f"  thingspace:resourceTimeoutSeconds: {'9' * 6000}\n", 4, 3, "must be a number", "300"),
        (GOOD + "  thingspace:triggers: [on]\n", 4, 25, "on is text to the engine, not true", 'or "on"'),
        (GOOD + "  thingspace:username: 0123\n", 4, 24, "changes its text", "Quote"),
        (GOOD + "  thingspace:profiles: '{one: {username: u}}'\n", 4, 3, "must be a map", "for example"),
        (GOOD.replace("external", "[external]"), 3, 25, "is ['external']; it must be local, external or", "kind"),
        (GOOD.replace("https://sms.example.com/x", "[x]"), 3, 41, "must be text", "https://sms"),
        (GOOD.replace("/x", "/x, readiness: yes"), 3, 84, "yes is text to the engine, not true", "Write true"),
        (GOOD + '  thingspace:baseUrl: "https://[::1/api"\n', 4, 3, "between [ and ]", "for example"),
        (GOOD + '  <<: {"thingspace:password": "sentinel"}\n', 4, 8, "is a secret in plain text", "--secret"),
        (GOOD + "  <<: [{}, {thingspace:prot: 1}]\n", 4, 13, "did you mean thingspace:protect?", "Correct"),
        (GOOD + "  <<: {}\n  <<: {}\n", 5, 3, "again, after line 4", "Keep one of them"),
        (GOOD + "  <<: none\n", 4, 3, "<< must be a map", "Correct"),
        (GOOD + "  x: &again [*again]\n", 4, 14, "an alias is inside its own target", "Correct"),
        (GOOD + "  thingspace:password: sentinel\n", 4, 3, "is a secret in plain text", "--secret thingspace:password"),
        (GOOD + "  thingspace:appSecret: [sentinel]\n", 4, 3, "has the wrong type", "Correct"),
        (GOOD + "  thingspace:appSecret: {secure: sentinel}\n", 4, 25, "is not encrypted", "--secret"),
        (
            GOOD + "  thingspace:profiles:\n    one:\n      appSecret: sentinel\n",
            6,
            7,
            "profiles.one.appSecret is a secret in plain text",
            "--secret --path thingspace:profiles.one.appSecret",
        ),
        (
            GOOD + """  thingspace:profiles: '{"one": {"password": "sentinel"}}'\n""",
            4,
            3,
            "secret in plain text",
            "--path",
        ),
        (GOOD + "  thingspace:baseUrl: http://thingspace.example.com/api\n", 4, 3, "unencrypted", "Use https"),
        (GOOD + "  thingspace:password: *sentinel\n", 4, 24, "undefined alias", "Correct"),
        (GOOD + "  thingspace:password: !sentinel x\n", 4, 24, "cannot read this value", "Quote"),
        (GOOD + "\tthingspace:adopt: true\n", 4, 1, "a tab cannot indent", "spaces"),
        (GOOD + "  thingspace:adopt: [\n", 5, 1, "expected the node content", "Correct"),
        (GOOD + "  thingspace:profile: \x00\n", 4, 23, "0x0 is not allowed", "Remove"),
        (GOOD + '  thingspace:profile: "\\ud800"\n', 4, 23, "a lone surrogate", "Correct"),
        (GOOD + '  thingspace:profile: "\\UFFFFFFFF"\n', 4, 26, "no such character", "Correct"),
        (GOOD.encode() + b"  thingspace:profile: \xff\n", 4, 23, "not UTF-8", "UTF-8"),
        ("- config\n", 1, 1, "must be a map", "config:"),
        ("config: none\n", 1, 9, "config must be a map", "thingspace:rotation"),
        ("config: " + "[" * 5000, 1, 1, "nested too deeply", "Correct"),
    ],
)
def test_each_mistake_is_found_in_its_place_with_its_fix(
    tmp_path: Path, content: str | bytes, line: int, column: int, message: str, fix: str
) -> None:
    status, findings = lint(tmp_path, test=content)
    assert status == 1
    assert [
        finding
        for finding in findings
        if (finding["line"], finding["column"]) == (line, column)
        and message in finding["message"]
        and fix in finding["fix"]
    ], findings


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        KUBERNETES + "    replicas: 3\n    ingress: {issuer: acme}\n    monitoring: true\n",
        SQLITE + "    gateway: {name: public}\n    settings: {retentionDays: 90}\n    adminNamespaces: [operations]\n",
        GOOD + "  aws:region: us-east-1\n  aws:config:x: 1\n  yes: 1\n  '2': 1\n",
        "environment: [company/defaults]\n" + HEAD,  # the listener comes from there
        "environment: [company/defaults]\n",
        LOCAL + "  thingspace:accounts: [0000123456-00001]\n",  # the engine reads the text as it is
        GOOD + "  thingspace:password: {secure: v1:abcdefgh:ijklmnop=}\n",
        GOOD + "  thingspace:profiles: {one: {username: u, password: {secure: v1:abcdefgh:ijklmnop=}}}\n",
        GOOD + "  thingspace:profiles: {secure: v1:abcdefgh:ijklmnop=}\n",
        GOOD.replace("https://sms.example.com/x", "{secure: v1:abcdefgh:ijklmnop=}"),
        GOOD.replace('["0000123456-00001"]', """'["0000123456-00001"]'"""),  # `pulumi config set` writes it so
        GOOD + "  thingspace:profiles:\n  thingspace:rotation:\n  thingspace:username:\n  thingspace:adopt:\n",
        GOOD + "  thingspace:triggers: [2026-13-45, 1:30]\n",
        GOOD + '  thingspace:rotation: "2026-13-45"\n',
        GOOD + "  thingspace:rotation: 2026-03-01\n",
        GOOD + "  thingspace:resourceTimeoutSeconds: 3e2\n  thingspace:protect: yes\n  thingspace:username: 12345\n",
        GOOD + "  <<: &u {thingspace:password: {secure: v1:abcdefgh:ijklmnop=}}\n  aws:x: *u\n",
        GOOD + "  <<: [{thingspace:rotation: 2}, {thingspace:rotation: [], thingspace:adopt: true}]\n",
        HEAD + "  <<: {thingspace:listener: {kind: external, <<: {kind: none, url: https://sms.example.com/x}}}\n",
    ],
)
def test_a_correct_file_has_no_findings(tmp_path: Path, content: str) -> None:
    assert lint(tmp_path, test=content) == (0, [])


DIRECT = "config:\n  thingspace:username: reader\n  thingspace:baseUrl: http://127.0.0.1:8700/api\n"
NOT_CHECKED = "accounts and listener are not checked: the stack sets no key of StackSettings"


@pytest.mark.parametrize("content", ["", "config: {}\n", "config: {aws:region: x}\n", DIRECT])
def test_accounts_and_listener_are_not_checked_when_the_program_uses_the_resources_directly(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "Pulumi.test.yaml"
    file.write_text(content)
    done = CliRunner().invoke(main, ["lint", str(file)])
    assert (done.exit_code, done.output) == (0, f"{file}: {NOT_CHECKED}\n1 stack file: no findings\n")
    done = CliRunner().invoke(main, ["lint", str(file), "--json"])
    skipped = [{"file": str(file), "reason": NOT_CHECKED}]
    assert json.loads(done.output) == {"files": [str(file)], "findings": [], "skipped": skipped}


def test_provider_keys_are_checked_when_the_program_uses_the_resources_directly(tmp_path: Path) -> None:
    status, findings = lint(tmp_path, test=DIRECT + "  thingspace:callsPerSecond: 0\n  thingspace:password: sentinel\n")
    assert status == 1
    assert [finding["message"].split(" ")[0] for finding in findings] == [
        "thingspace:callsPerSecond",
        "thingspace:password",
    ]


def build_nested_aliases(levels: int) -> str:
    """Lists of aliases of lists of aliases: each level ten times the one before."""
    named = [f"&a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "config:\n  x: [" + ", ".join(["&a0 [lol]", *named]) + f"]\n  thingspace:rotation: *a{levels - 1}\n"


@pytest.mark.parametrize(
    ("levels", "message"), [(4, "it must be a number or a word"), (30, "aliases expand to too much")]
)
def test_aliases_of_aliases_cost_no_more_than_what_is_written(tmp_path: Path, levels: int, message: str) -> None:
    _, findings = lint(tmp_path, test=build_nested_aliases(levels))
    assert [finding for finding in findings if message in finding["message"]]
    assert all(len(finding["message"]) < 1000 for finding in findings)


def test_a_name_makes_a_stack_production_and_http_wrong_there(tmp_path: Path) -> None:
    http = GOOD.replace("https://", "http://") + "  thingspace:baseUrl: http://127.0.0.1:8700/api\n"
    assert lint(tmp_path, test=http) == (0, [])
    (tmp_path / "Pulumi.test.yaml").unlink()
    _, findings = lint(tmp_path, **{"eu-prod": http})
    assert [(finding["line"], finding["message"].split(" ")[0]) for finding in findings] == [
        (3, "thingspace:listener.url"),
        (4, "thingspace:baseUrl"),
    ]


def test_two_stacks_that_want_one_account_of_the_same_thingspace_are_both_named(tmp_path: Path) -> None:
    emulated = GOOD.replace("external, url: https://sms.example.com/x", "local")
    emulated += "  thingspace:baseUrl: http://127.0.0.1:8700/api\n"
    _, [finding] = lint(tmp_path, one=GOOD, two=GOOD, three=emulated)
    assert finding["file"].endswith("Pulumi.two.yaml")
    assert "account 0000123456-00001 is in" in finding["message"]
    assert "Pulumi.one.yaml" in finding["message"]


def test_the_text_form_is_file_line_column_and_a_fix(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.test.yaml"
    file.write_text(GOOD + "  thingspace:acounts: []\n")
    done = CliRunner().invoke(main, ["lint", str(file)])
    assert done.output == (
        f"{file}:4:3: thingspace:acounts is not a known key; did you mean thingspace:accounts?\n"
        "    fix: Correct or remove it.\n"
        "1 stack file: 1 finding\n"
    )


def test_wrong_usage_is_distinguished_from_findings(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        done = CliRunner().invoke(main, ["lint", str(path)])
        assert done.exit_code == 2
        assert str(path) in done.output


def test_every_setting_that_is_known_can_stand_in_a_stack_file(tmp_path: Path) -> None:
    """So that a key that is added to the settings cannot be forgotten here."""
    secure = "".join(f"  thingspace:{key}: {{secure: v1:abcdefgh:ijklmnop=}}\n" for key in sorted(KNOWN_KEYS))
    assert lint(tmp_path, test="config:\n" + secure) == (0, [])


def test_a_stack_file_is_checked_without_pulumi() -> None:
    program = "import sys, thingspace_provider.cli.lint; sys.exit('pulumi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    shutil.copytree(TOP / "stacks", tmp_path / "stacks")
    paths = [tmp_path / "stacks", tmp_path / "stacks" / "Pulumi.prod.yaml"]
    done = CliRunner().invoke(main, ["lint", *map(str, paths)])
    assert done.output == "3 stack files: no findings\n"
