"""Runs the migrations on the connection that app/store/migrations.py hands over, or for the alembic command."""

import asyncio

from alembic import context

from app.settings import load
from app.store.db import url_of
from app.store.migrations import configured, run_on

connection = context.config.attributes.get("connection")
if connection is not None:
    configured(context, connection)
else:
    asyncio.run(run_on(url_of(load()), lambda opened: configured(context, opened)))
