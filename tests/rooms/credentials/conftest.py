"""What the tests of credentials share: a hasher that is quick because it does little, and a small world around it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.breached import CommonPasswords
from shopkeeper.credentials.hashes import Argon2Parameters, Hasher
from shopkeeper.credentials.method import Attempt, NewCredential, Proof
from shopkeeper.credentials.password import Password
from shopkeeper.credentials.policy import PasswordPolicy
from shopkeeper.identity.draft import NewIdentity
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Client, Identity, State
from shopkeeper.storage.audit import Audit, AuditEvent
from shopkeeper.storage.database import Database

CHEAP = Argon2Parameters(memory=64, iterations=1, parallelism=1)
CLIENT = Client(ip="203.0.113.7")
RIGHT = "Plum-Tart-93-window"
FAILURES = 4


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    hasher = Hasher(CHEAP, workers=2, queue=200)
    yield hasher
    hasher.close()
