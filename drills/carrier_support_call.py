"""Drill: data for a call to Verizon's support. See docs/drills.md."""

import json
from pathlib import Path

from lab import ACCOUNT, Lab, Listener, run_drill

COMMANDS = {  # of thingspace, by the part of the report
    "checks": ("doctor", "--stack", "dev", "--json"),
    "registrations": ("registrations", "--stack", "dev", "--json"),
    "messages": ("messages", "--json", "--limit", "20"),
}
MESSAGE_KEYS = ("id", "account", "devices", "receivedAt", "requestId", "duplicateOf")  # not the content


def collect(lab: Lab, listener: Listener, file: Path) -> None:
    """Write the report: account, user, masked URL, times, ids of messages and devices, and no content or secret."""
    token = json.loads((listener.folder / "settings.json").read_text())["apiToken"]
    report = {}
    for part, command in COMMANDS.items():
        url = ("--url", f"http://127.0.0.1:{listener.port}") if part == "messages" else ()
        output = lab.run_quietly("thingspace", *command, *url, THINGSPACE_LISTENER_API_TOKEN=token)
        report[part] = json.loads(output)[part]
    report["messages"] = [{key: message.get(key) for key in MESSAGE_KEYS} for message in report["messages"]]
    file.write_text(json.dumps(report, indent=2))


def drill(lab: Lab) -> None:
    """A startCallbacks fails at ThingSpace. Collect what its support needs, without content and secrets."""
    lab.step("Deploy a listener and its registration. One message arrives.")
    listener = lab.deploy(apiToken="drill-api-token-1")
    lab.send("confidential content")
    lab.expect(lambda: lab.stored() == lab.sent, "the message is in the inbox")

    lab.step("ThingSpace rejects startCallbacks.")
    lab.emulator.add_fault("startCallbacks", response={"format": "m2m", "code": "REQUEST_FAILED.Drill", "status": 400})
    lab.write_stack(listener.stack_url, triggers=["support call"])
    error = lab.up(fails=True)
    lab.expect(lambda: "REQUEST_FAILED.Drill" in error, "the error has the code of ThingSpace")
    lab.expect(lambda: ACCOUNT in error, "the error has the account")

    lab.step("Collect the report. Add the error above with its time (UTC), and the number of your Verizon account.")
    report = lab.folder / "support-call.json"
    collect(lab, listener, report)
    text = report.read_text()
    print("\n".join(f"   | {line}" for line in text.splitlines()[-40:]))
    for part, value in {
        "account": ACCOUNT,
        "ThingSpace user": lab.emulator.username,
        "masked URL": f"/callbacks/***/{ACCOUNT}",
        "receive time of the message": "receivedAt",
        "identifiers of its device": '"kind": "mdn"',
    }.items():
        lab.expect(lambda value=value: value in text, f"the report has the {part}")

    lab.step("Check that it is safe to send.")
    credential = lab.fetch_credential()
    secrets = {
        "content": "confidential content",
        "callback password": credential["password"],
        "path token": credential["pathToken"],
        "ThingSpace password": lab.emulator.password,
        "application secret": lab.emulator.app_secret,
        "API token": "drill-api-token-1",
    }
    for name, secret in secrets.items():
        lab.expect(lambda secret=secret: secret not in text and secret not in error, f"no {name} in report and error")


if __name__ == "__main__":
    run_drill(drill)
