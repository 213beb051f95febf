"""Drill: the SQLite store of a listener is lost. See docs/drills.md."""

from lab import ACCOUNT, Lab, Receiver, run_drill


def drill(lab: Lab) -> None:
    """The SQLite store of a listener is lost. What was acknowledged and not forwarded is lost, and nothing else."""
    lab.step("Deploy a listener that forwards to a receiver. The receiver gets one message.")
    receiver = Receiver(lab)
    listener = lab.deploy(sinks=[receiver.sink])
    lab.send("forwarded")
    lab.expect(lambda: receiver.texts() == ["forwarded"], "the receiver has the message")

    lab.step("The receiver fails. The next message is acknowledged to ThingSpace and waits in the outbox.")
    receiver.is_available = False
    lab.send("acknowledged only")
    lab.expect(lambda: lab.stored() == lab.sent, "the inbox has both messages")

    lab.step("The volume is lost with its listener. One more message arrives: ThingSpace queues it.")
    listener.kill()
    listener.remove_store()
    receiver.is_available = True
    lab.send("queued")
    lab.let_thingspace_retry()
    lab.expect(lambda: lab.count_queued() == 1, "ThingSpace's queue has one message")

    lab.step(
        "Start the listener with an empty store and recoveryMode history. It reads ThingSpace's history, which has "
        "what no listener acknowledged."
    )
    emulator = lab.emulator
    listener.start(
        recoveryMode="history",
        recoveryDelaySeconds=0.1,
        thingspaceCredentials={
            "appKey": emulator.app_key,
            "appSecret": emulator.app_secret,
            "username": emulator.username,
            "password": emulator.password,
            "baseUrl": emulator.url,
        },
    )
    lab.expect(lambda: receiver.texts() == ["forwarded", "queued"], "the receiver gets the queued message")
    lab.expect(lambda: list(lab.stored()) == ["queued"], "the new inbox has the queued message only")
    lab.expect(lambda: lab.count_queued() == 0, "ThingSpace's queue is empty")
    lab.expect(lambda: len({event["id"] for event in receiver.events}) == 2, "the ids of both events differ")

    lab.step("Find the loss: acknowledged callbacks, from the proxy's access log, that no receiver has.")
    delivered = sum(
        delivery["outcome"] == "delivered" and delivery["accountName"] == ACCOUNT for delivery in emulator.deliveries()
    )
    lost = set(lab.sent) - set(receiver.texts())
    lab.expect(lambda: delivered == 2, "ThingSpace had an acknowledgement of two callbacks")
    lab.expect(lambda: lost == {"acknowledged only"}, "one of them is lost: it was acknowledged and not forwarded")

    lab.step("Go on. PostgreSQL with a standby has no such loss; a sink without a backlog keeps it small.")
    lab.send("afterwards")
    lab.expect(lambda: receiver.texts()[-1] == "afterwards", "the receiver gets the next message")


if __name__ == "__main__":
    run_drill(drill)
