"""Alembic's entry: runs on the connection that :func:`analect.store.migrate.migrate` hands over."""

from alembic import context

from analect.store.migrate import own_tables_only
from analect.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_name=own_tables_only,
    render_as_batch=True,
)
context.run_migrations()
