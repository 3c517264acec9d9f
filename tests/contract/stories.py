"""Stories told with `ory_kratos_client`, the client that Ory publishes for Python: an app's customer, and an operator.

Each takes the addresses of the two doors, so that it can be told to a server as well as through a recorder.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import ory_kratos_client as kratos
import pytest
from ory_kratos_client.exceptions import ApiException, BadRequestException, NotFoundException, UnauthorizedException
from ory_kratos_client.models import (
    CreateIdentityBody,
    CreateIdentityBodyCredentials if False else CreateIdentityBody,
)
