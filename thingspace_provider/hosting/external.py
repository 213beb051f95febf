"""ExternalListener: a listener that another deployment runs, at a URL that exists."""

from __future__ import annotations

import pulumi

from thingspace_provider.lifecycle.validation import url_template_error
from thingspace_provider.resources.base import InvalidArgument
from thingspace_provider.resources.credential import CallbackCredential


class ExternalListener:
    """A callback URL that exists. Nothing is deployed.

    Args:
        url: callback URL, also an output of a resource or of another stack. `{account}` is replaced by the account and
            `{path_token}` by the credential's path token, for example
            `https://sms.example.com/callbacks/{path_token}/{account}`.
        credential: required if the URL holds `{path_token}`.
        revision: a changed value sends startCallbacks again; change it when that listener was deployed again.
        readiness: whether the listener passes a readiness probe before each registration. Set it to False for a
            listener that is not of this project and does not respond to the probe.

    Example:
        from thingspace_provider import CallbackCredential, ExternalListener, SmsCallbacks

        accounts = ["0000123456-00001"]
        credential = CallbackCredential("credential")
        listener = ExternalListener(
            url="https://sms.example.com/callbacks/{path_token}/{account}", credential=credential, revision="2026-03-01"
        )
        sms = SmsCallbacks("sms", account_names=accounts, listener=listener, credential=credential)

    Operations:
        preview: shows the registrations that change. It is no resource: nothing of it is in the state.
        create: deploys nothing. The registrations are made with its URL.
        update: a changed `url` registers again; a changed `revision` sends startCallbacks again.
        replace: never happens.
        refresh: does nothing.
        delete: stops nothing: the listener is deployed elsewhere.
        import: not needed.

    Errors:
        `which is not replaced; the placeholders are`: use the placeholders `{account}` and `{path_token}` only.
        `add {account}, which is replaced by the account`: each account needs a URL of its own.
        `a URL with {path_token} requires a credential`: set `credential`.
        `probing the listener`: the listener did not pass the readiness probe. docs/readiness-probe.md lists the steps;
            for a receiver that does not respond to the probe, set `readiness=False`.
    """

    def __init__(
        self,
        *,
        url: pulumi.Input[str],
        credential: CallbackCredential | None = None,
        revision: pulumi.Input[str] = "",
        readiness: bool = True,
    ) -> None:
        if credential is not None:
            CallbackCredential.check("ExternalListener", credential)
        self.url = url
        self.revision = revision
        self.readiness = readiness
        self._credential = credential
        self._accounts: set[str] = set()
        if isinstance(url, str):
            self._check(url)

    def url_for(self, account_name: pulumi.Input[str]) -> pulumi.Output[str]:
        """Return the callback URL of an account. It is a secret if it holds the path token.

        Raises InvalidArgument if the URL does not fit all accounts that this was called for.
        """
        if isinstance(account_name, str):
            self._accounts.add(account_name)
        if isinstance(self.url, str):
            self._check(self.url)

        def render(url: str) -> pulumi.Output[str]:
            token = self._check(url)
            return pulumi.Output.all(account_name, token).apply(
                lambda values: url.replace("{account}", values[0]).replace("{path_token}", values[1])
            )

        return pulumi.Output.from_input(self.url).apply(render)

    def _check(self, url: str) -> pulumi.Input[str]:
        """Return the path token that the URL needs, or "". Raises InvalidArgument."""
        if error := url_template_error(url, len(self._accounts)):
            raise InvalidArgument(f"ExternalListener: url {error}")
        if "{path_token}" not in url:
            return ""
        if self._credential is None:
            raise InvalidArgument("ExternalListener: a URL with {path_token} requires a credential")
        return self._credential.path_token
