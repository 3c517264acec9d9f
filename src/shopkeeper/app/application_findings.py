"""Findings about what an application has read besides its settings: schemas, mappers and templates."""

import asyncio
from collections.abc import Sequence

from shopkeeper.app.application import Application
from shopkeeper.app.mail import template_findings
from shopkeeper.app.mapper_findings import mapper_findings
from shopkeeper.app.schema_findings import schema_findings
from shopkeeper.settings import Finding


async def application_findings(application: Application) -> Sequence[Finding]:
    """Return findings about what an application has read."""
    settings = application.infrastructure.settings
    return [
        *schema_findings(application.accounts),
        *await mapper_findings(application.accounts),
        *await asyncio.to_thread(lambda: list(template_findings(settings))),
    ]
