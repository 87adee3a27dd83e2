"""How fast may be sent, when a message was written, who stopped a conversation, and what staff sent again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("sender", sa.Text(), nullable=True))
    op.add_column("conversations", sa.Column("stopped_by", sa.Text(), nullable=True))
    op.add_column("messages", sa.Column("written_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("deliveries", sa.Column("sender", sa.Text(), server_default="", nullable=False))
    op.add_column("deliveries", sa.Column("units", sa.Integer(), server_default="1", nullable=False))
    op.add_column("deliveries", sa.Column("again", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_deliveries_undelivered",
        "deliveries",
        ["created_at"],
        postgresql_where=sa.text("state IN ('failed', 'unknown')"),
    )
    op.create_table(
        "pace",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("free_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pace")),
    )


def downgrade() -> None:
    op.drop_table("pace")
    op.drop_index("ix_deliveries_undelivered", table_name="deliveries")
    for table, column in (
        ("deliveries", "again"),
        ("deliveries", "units"),
        ("deliveries", "sender"),
        ("messages", "written_at"),
        ("conversations", "stopped_by"),
        ("conversations", "sender"),
    ):
        op.drop_column(table, column)
