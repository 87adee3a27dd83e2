"""Files that people send: what became of each, and those that were opened."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    uuid, time = postgresql.UUID(as_uuid=True), postgresql.TIMESTAMP(timezone=True)
    op.create_table(
        "attachments",
        sa.Column("id", uuid, nullable=False),
        sa.Column("message_id", uuid, nullable=False),
        sa.Column("conversation_id", uuid, nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("shown_as", sa.Text(), nullable=True),
        sa.Column("lease_until", time, nullable=True),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("deleted_at", time, nullable=True),
        sa.Column("at_provider", sa.Text(), server_default="there", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", time, server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", time, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_attachments_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name=op.f("fk_attachments_conversation_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachments")),
        sa.UniqueConstraint("message_id", "part", name=op.f("uq_attachments_message_id_part")),
    )
    op.create_index("ix_attachments_conversation_id", "attachments", ["conversation_id"])
    op.create_index(
        "ix_attachments_ending", "attachments", ["created_at"], postgresql_where=sa.text("state <> 'deleted'")
    )
    op.create_index(
        "ix_attachments_asked", "attachments", ["next_at"], postgresql_where=sa.text("at_provider = 'asked'")
    )
    op.create_table(
        "attachment_pieces",
        sa.Column("attachment_id", uuid, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sealed", postgresql.BYTEA(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attachment_id"],
            ["attachments.id"],
            name=op.f("fk_attachment_pieces_attachment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("attachment_id", "number", name=op.f("pk_attachment_pieces")),
    )


def downgrade() -> None:
    op.drop_table("attachment_pieces")
    op.drop_table("attachments")
