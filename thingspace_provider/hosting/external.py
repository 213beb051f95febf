"""ExternalListener: a listener that another deployment runs, at a URL that exists."""

from __future__ import annotations

import pulumi

from thingspace_provider.resources.credential import CallbackCredential


class ExternalListener:
    """A callback URL that exists. Nothing is deployed.

    Args:
        url: callback URL. `{account}` is replaced by the account and `{path_token}` by the credential's path token, for
            example "https://sms.example.com/callbacks/{path_token}/{account}".
        credential: required if the URL holds `{path_token}`.
        revision: a changed value sends startCallbacks again; change it when that listener was deployed again.
        readiness: whether the listener passes a readiness probe before each registration. Requires a listener of this
            project.
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
            raise ValueError("ExternalListener: a URL with {path_token} requires a credential")
        self.url = url
        self.revision = revision
        self.readiness = readiness
        self._credential = credential

    def url_for(self, account_name: pulumi.Input[str]) -> pulumi.Output[str]:
        """Return the callback URL of an account. It is a secret if it holds the path token."""
        token: pulumi.Input[str] = ""
        if self._credential is not None and "{path_token}" in self.url:
            token = self._credential.path_token
        return pulumi.Output.all(account_name, token).apply(
            lambda values: self.url.replace("{account}", values[0]).replace("{path_token}", values[1])
        )
