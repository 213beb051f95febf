"""Drill: the listener is down while devices send messages. See docs/drills.md."""

from lab import ACCOUNT, Lab, run_drill


def drill(lab: Lab) -> None:
    """The listener is down while devices send messages. ThingSpace queues them, and `pulumi up` drains the queue."""
    lab.step("Deploy a listener and its registration.")
    listener = lab.deploy()
    lab.send("before the outage")
    lab.expect(lambda: lab.stored() == lab.sent, "the message is in the inbox")

    lab.step("The listener dies. Devices send three messages. ThingSpace repeats each callback once, then queues it.")
    listener.kill()
    lab.send(*(f"during the outage {number}" for number in range(3)))
    lab.let_thingspace_retry()
    lab.expect(lambda: lab.count_queued() == 3, "ThingSpace's queue has three messages")

    lab.step("Find the cause. The doctor reaches ThingSpace, and not the listener.")
    output = lab.run("thingspace", "doctor", "--stack", "dev", fails=True)
    lab.expect(
        lambda: f"failed   readiness {ACCOUNT}" in output, "the doctor names the listener that refuses connections"
    )

    lab.step("Start the listener. ThingSpace does not drain the queue on its own.")
    listener.start()
    lab.expect(lambda: lab.count_queued() == 3, "the queue still has three messages")

    lab.step(
        "Change a trigger and run `pulumi up`: it sends startCallbacks. A listener with recoveryMode does it alone."
    )
    lab.write_stack(listener.stack_url, triggers=["outage 1"])
    lab.up()
    lab.expect(lambda: lab.count_queued() == 0, "the queue is empty")
    lab.expect(lambda: lab.stored() == lab.sent, "the inbox has every message: nothing is lost")


if __name__ == "__main__":
    run_drill(drill)
