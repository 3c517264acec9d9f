"""A shop's backend: `GET /users/profile` behind one dependency, which asks the session's server who sends a request."""

import os
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from shopkeeper_asgi import Authenticator, User, WhoAmI
from shopkeeper_asgi.fastapi import REFUSALS, session_user

authenticator = Authenticator(WhoAmI(url=os.environ.get("SHOP_URL", "http://127.0.0.1:4433")))
CurrentUser = Annotated[User, Depends(session_user(authenticator))]

app = FastAPI(title="A shop's backend")


class Profile(BaseModel):
    """What the handler answers, and the OpenAPI document shows."""

    id: str
    email: str | None
    verified: bool


@app.get("/users/profile", responses=REFUSALS)
async def profile(user: CurrentUser) -> Profile:
    """Return the profile of whom the header `session_token` belongs to."""
    return Profile(id=user.id, email=user.email, verified=user.verified)
