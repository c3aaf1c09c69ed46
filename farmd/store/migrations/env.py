"""How Alembic runs a migration here: on the connection and in the transaction that `farmd.store.schema` hands over.

A new revision is written by `.venv/bin/python -m farmd.store.migrations.draft "what changes"`.
"""

from alembic import context

from farmd.store.migrations.rendering import compare_type, render_item
from farmd.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
    compare_type=compare_type,
    render_item=render_item,
)
context.run_migrations()
