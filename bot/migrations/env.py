"""Alembic's entry: the connection is handed in by ``bot.database``; nothing is read from a file."""

from __future__ import annotations

from alembic import context

from bot.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
