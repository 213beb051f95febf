"""ExternalListener: a listener that somebody else deploys, at a URL that already exists."""

from __future__ import annotations

import pulumi

from thingspace_provider.resources.credential import CallbackCredential


class ExternalListener:
    """A callback URL that already exists; nothing is deployed.

    Args:
        url: the callback URL. `{account}` stands for the account and `{path_token}` for the credential's token, as
            in "https://sms.example.com/callbacks/{path_token}/{account}".
        credential: needed when the URL holds `{path_token}`.
        revision: another value has the queued texts fetched again, for when that listener was deployed anew.
        readiness: whether to prove before registering that a listener of this project answers there.
    """

    def __init__(
        self,
        *,
        url: str,
        credential: CallbackCredential | None = None,
        revision: str = "",
        readiness: bool = False,
    ) -> None:
        if "{path_token}" in url and credential is None:
            raise ValueError("ExternalListener: the URL holds {path_token}, so it needs the credential that has it")
        self.url = url
        self.revision = revision
        self.readiness = readiness
        self._credential = credential

    def url_for(self, account_name: pulumi.Input[str]) -> pulumi.Output[str]:
        """The callback URL of an account; a secret when it holds the path token."""
        token: pulumi.Input[str] = ""
        if self._credential is not None and "{path_token}" in self.url:
            token = self._credential.path_token
        return pulumi.Output.all(account_name, token).apply(
            lambda values: self.url.replace("{account}", values[0]).replace("{path_token}", values[1])
        )
