"""Drill: the state of the stack is lost. See docs/drills.md."""

import shutil

from lab import ACCOUNT, CREDENTIAL, Lab, run_drill


def drill(lab: Lab) -> None:
    """The state of the stack is lost, and with it the callback credential. A new stack takes the registration over."""
    lab.step("Deploy a listener and its registration.")
    listener = lab.deploy()
    lab.send("before the loss")
    lab.expect(lambda: lab.stored() == lab.sent, "the message is in the inbox")

    lab.step("The state is lost. ThingSpace and the listener work as before.")
    shutil.rmtree(lab.state)
    lab.state.mkdir()
    lab.send("after the loss")
    lab.expect(lambda: lab.stored() == lab.sent, "the next message is in the inbox")

    lab.step("List what is registered.")
    output = lab.run("thingspace", "registrations", "--account", ACCOUNT)
    lab.expect(
        lambda: f":{listener.port}/callbacks/***/{ACCOUNT}" in output, "the registration of the listener is listed"
    )

    lab.step("Create the stack and a new credential. Its URL has another path token.")
    lab.run_quietly("pulumi", "--non-interactive", "stack", "init", "dev")
    lab.up("--target", CREDENTIAL)

    lab.step(
        "Give the new credential to the listener. Until the registration follows, it rejects ThingSpace's callbacks."
    )
    listener.write_settings(**lab.fetch_credential())
    lab.expect(lambda: listener.count_events("settings_reloaded") == 1, "the log has settings_reloaded")
    lab.send("in between")
    lab.let_thingspace_retry()
    lab.expect(lambda: lab.count_queued() == 1, "ThingSpace queues the message in between")

    lab.step("`pulumi up` replaces no registration that it does not know.")
    output = lab.up(fails=True)
    lab.expect(lambda: "adopt" in output, "the error shows both URLs and names `adopt`")

    lab.step("Set `adopt`, and run it again. It takes the registration over and drains the queue.")
    lab.write_stack(listener.stack_url, adopt=True)
    lab.up()
    lab.expect(lambda: lab.count_queued() == 0, "the queue is empty")
    lab.expect(lambda: lab.stored() == lab.sent, "the inbox has every message: nothing is lost")

    lab.step("Remove `adopt`. Nothing else is left to change.")
    lab.write_stack(listener.stack_url)
    lab.pulumi("preview", "--expect-no-changes")


if __name__ == "__main__":
    run_drill(drill)
