"""Seeding: identities and sessions by the million, straight into the tables, with a progress bar.

    python -m bench.seed --dsn postgres://… --count 1000000

Every identity has an e-mail address, a password that nobody knows, and one session; the first thousand sessions' tokens
are known (`token(n)`), so that a benchmark can ask for them.
"""

import argparse
import asyncio
import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shopkeeper.app import open_database
from shopkeeper.crypto import digest
from shopkeeper.identity import store as people
from shopkeeper.sessions import store as sessions
from shopkeeper.settings import load
from shopkeeper.storage.migrate import migrate

BATCH = 2_000
NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def token(number: int) -> str:
    """The token of the n-th seeded session."""
    return "shk_st_" + hashlib.sha256(b"bench %d" % number).hexdigest()
