"""Drill: the ThingSpace password is wrong, then the user is locked. See docs/drills.md."""

from lab import ACCOUNT, Lab, run_drill


def drill(lab: Lab) -> None:
    """The ThingSpace password is wrong, then the user is locked. Each costs one login, in any number of runs."""

    def failed_logins() -> int:
        [user] = lab.emulator.control("GET", "users")["users"]
        return int(user["failedLogins"])

    def logins() -> int:
        return len(lab.emulator.calls("login"))

    registrations = ("thingspace", "registrations", "--account", ACCOUNT)
    username = lab.emulator.username

    lab.step("A pipeline runs `pulumi up` with a wrong password.")
    lab.create_stack("http://127.0.0.1:28200/callbacks/{account}", readiness=False)
    wrong = {"THINGSPACE_PASSWORD": "wrong-password"}
    output = lab.up(fails=True, **wrong)
    lab.expect(lambda: "login" in output, "the update fails at the login")
    lab.expect(lambda: failed_logins() == 1, "ThingSpace counts one failed login of five")

    lab.step("The pipeline runs again, and so do other commands. The login guard blocks them.")
    output = lab.up(fails=True, **wrong)
    lab.expect(lambda: "login blocked" in output, "the error says `login blocked`")
    lab.run(*registrations, fails=True, **wrong)
    lab.expect(lambda: failed_logins() == 1, "ThingSpace still counts one failed login")

    lab.step("Another program, without a guard, has used up the other logins: ThingSpace locks the user.")
    lab.emulator.control("POST", "users/lock", {"username": username})
    before = logins()
    lab.run(*registrations, fails=True)
    lab.run(*registrations, fails=True)
    lab.expect(lambda: logins() == before + 1, "two runs with the right password have cost one login")

    lab.step("Verizon support unlocks the user. The record on this machine still blocks the right password.")
    lab.emulator.control("POST", "users/unlock", {"username": username})
    output = lab.run(*registrations, fails=True)
    lab.expect(lambda: "THINGSPACE_LOGIN_OVERRIDE" in output, "the error names THINGSPACE_LOGIN_OVERRIDE")
    lab.expect(lambda: logins() == before + 1, "no login was sent")

    lab.step("Permit one login with a new value, for example the number of the ticket.")
    lab.up(THINGSPACE_LOGIN_OVERRIDE="ticket-4711")
    lab.expect(lambda: logins() == before + 2, "one login was sent")
    lab.expect(lambda: failed_logins() == 0, "ThingSpace counts no failed login")

    lab.step("Remove the variable. The successful login has removed the record.")
    lab.run(*registrations)


if __name__ == "__main__":
    run_drill(drill)
