"""Opens the store of a URL. Only a PostgreSQL URL requires the PostgreSQL driver."""

from __future__ import annotations

from collections.abc import Sequence

from thingspace_provider.listener.store.base import Store, StoreOpenError
from thingspace_provider.listener.store.sqlite.store import SqliteStore
from thingspace_provider.listener.store.store_url import mask_store_url, sqlite_path


def open_store(url: str, sinks: Sequence[str] = (), *, require_synchronous_standby: bool = False) -> Store:
    """Open a store with an outbox for these sinks. Raises StoreOpenError."""
    if path := sqlite_path(url):
        if require_synchronous_standby:
            raise StoreOpenError("requireSynchronousStandby needs a PostgreSQL store: SQLite has no standby")
        return SqliteStore(path, sinks)
    try:
        from thingspace_provider.listener.store.postgres.store import PostgresStore  # noqa: PLC0415  an extra
    except ImportError as error:
        raise StoreOpenError(
            f"{mask_store_url(url)} cannot be used as a store: {error.name or error} is not installed. "
            "Install it with: pip install -e '.[listener,postgres]' in a clone"
        ) from None
    return PostgresStore(url, mask_store_url(url), sinks, require_synchronous_standby=require_synchronous_standby)
