"""Users, sessions and API keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.domain.passwords import MAX_LENGTH
from app.schemas.common import Body, Instant, Name, Out

Username = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=3, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    ),
]
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f.]+(\.[^@\s\x00-\x1f.]+)+$",
    ),
]
Password = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH)]
Scope = Literal["read", "trade", "admin"]


class RegisterIn(BaseModel):
    username: Username
    email: Email
    password: Password = Field(repr=False)


class LoginIn(BaseModel):
    login: str = Field(min_length=1, max_length=254, description="User name or e-mail address.")
    password: Password = Field(repr=False)
    remember: bool = Field(default=False, description="Stay signed in for 30 days.")
    totp: str | None = Field(default=None, max_length=20, repr=False)


class PasswordIn(Body):
    current_password: Password = Field(repr=False)
    new_password: Password = Field(repr=False)


class ProfileIn(Body):
    email: Email | None = None
    zone: str | None = Field(default=None, max_length=64)


class ApiKeyIn(Body):
    name: Name
    scopes: list[Scope] = Field(default=["read"], min_length=1, max_length=3)
    expires_at: Instant | None = None


class LogoutQuery(BaseModel):
    all: bool = Field(default=False, description="End all sessions of the user.")


class UserOut(Out):
    id: int
    username: str
    email: str
    role: str
    zone: str


class SignedInOut(Out):
    user: UserOut
    csrf_token: str


class MeOut(Out):
    user: UserOut
    scopes: list[Scope]
    csrf_token: str | None = Field(description="Empty for API keys, which need none.")


class ApiKeyOut(Out):
    id: int
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None


class NewApiKeyOut(ApiKeyOut):
    key: str = Field(description="Shown this once.")


class SessionOut(Out):
    id: int
    user_agent: str
    address: str
    created_at: Instant
    last_seen_at: Instant
    expires_at: Instant
    current: bool = False


class TicketOut(Out):
    ticket: str
    expires_in_s: int


class NewUserIn(Body):
    username: Username
    email: Email
    password: Password = Field(repr=False)
    role: Literal["trader", "admin"] = "trader"


class AdminUserOut(UserOut):
    created_at: Instant
