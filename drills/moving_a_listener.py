"""Drill: a listener moves to another address. See docs/drills.md."""

from lab import Lab, Listener, Traffic, run_drill


def drill(lab: Lab) -> None:
    """A listener moves to another address while devices send messages. No message is lost or queued."""
    lab.step("Deploy a listener and its registration.")
    old = lab.deploy()
    with Traffic(lab):
        lab.step("Start the new listener with the same credential. The old one stays.")
        new = Listener(lab, "new-listener")
        new.start(**lab.fetch_credential())

        lab.step("Change the URL in the stack file. `pulumi up` probes the new listener, then registers it.")
        lab.write_stack(new.stack_url)
        lab.up()
        sent = lab.sent.total()
        lab.expect(lambda: lab.sent.total() >= sent + 10, "devices sent 10 more messages")
    lab.emulator.wait_until_idle()
    lab.expect(lambda: bool(old.messages()) and bool(new.messages()), "both inboxes have messages")
    lab.expect(lambda: lab.stored() == lab.sent, "together they have every message: nothing is lost")
    lab.expect(lambda: old.count_rejected() + new.count_rejected() == 0, "no callback was rejected")
    lab.expect(lambda: lab.count_queued() == 0, "ThingSpace's queue is empty")

    lab.step(
        "Stop the old listener after 15 minutes, when its sinks have received everything. Its store stays readable: "
        "`thingspace messages --store`."
    )
    old.kill()
    lab.send("after the move")
    lab.expect(lambda: new.messages()[-1]["text"] == "after the move", "the new listener has the next message")
    lab.expect(lambda: lab.stored() == lab.sent, "the old store is still readable")
    lab.run("thingspace", "doctor", "--stack", "dev")


if __name__ == "__main__":
    run_drill(drill)
