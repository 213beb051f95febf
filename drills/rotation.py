"""Drill: the callback password is replaced in two steps. See docs/drills.md."""

from lab import CREDENTIAL, Lab, Traffic, run_drill


def drill(lab: Lab) -> None:
    """The callback password is replaced while devices send messages. No callback is rejected."""
    lab.step("Deploy a listener and its registration.")
    listener = lab.deploy()
    before = lab.fetch_credential()
    with Traffic(lab):
        lab.step("Make the new password. ThingSpace does not know it yet.")
        lab.write_stack(listener.stack_url, rotation=2)
        lab.up("--target", CREDENTIAL)
        after = lab.fetch_credential()
        lab.expect(lambda: after["password"] != before["password"], "the stack has a new password")
        lab.expect(lambda: before["password"] in after["previousPasswords"], "the old one is among previousPasswords")

        lab.step("Give both to the listener. It reloads its settings file and accepts both.")
        listener.write_settings(**after)
        lab.expect(lambda: listener.count_events("settings_reloaded") == 1, "the log has settings_reloaded")

        lab.step("Register the new password.")
        lab.up()
        sent = lab.sent.total()
        lab.expect(lambda: lab.sent.total() >= sent + 10, "devices sent 10 more messages")
    lab.emulator.wait_until_idle()

    lab.step("After 15 minutes, remove the old password. ThingSpace sends the new one.")
    listener.write_settings(previousPasswords=[])
    lab.expect(lambda: listener.count_events("settings_reloaded") == 2, "the log has settings_reloaded")
    lab.send("after the rotation")
    lab.emulator.wait_until_idle()
    lab.expect(lambda: listener.count_rejected() == 0, "the listener has rejected no callback")
    lab.expect(lambda: lab.count_queued() == 0, "ThingSpace's queue is empty")
    lab.expect(lambda: lab.stored() == lab.sent, "the inbox has every message: nothing is lost")


if __name__ == "__main__":
    run_drill(drill)
