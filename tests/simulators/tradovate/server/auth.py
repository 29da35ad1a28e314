"""Who is calling: log-ins, tokens, sessions and the authorization-code flow of one world."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlencode

from tests.simulators.tradovate.server.calls import DENIED
from tests.simulators.tradovate.server.switches import Switches
from tests.simulators.tradovate.server.ticking import Clock, iso
from tests.simulators.tradovate.venue import Http

BAD_CREDENTIALS = (
    "Incorrect username or password. Please try again, noting that passwords are case-sensitive."
)
UNKNOWN_APP = "The app is not registered"
EXPIRED = "Expired Access Token"
_CODE_LIFE_S = 600
_REFRESH_LIFE_S = 30 * 24 * 3600


@dataclass(frozen=True)
class Key:
    """An API key. ``permissions``: none, read or full per domain; ``*`` is the default."""

    cid: str
    sec: str
    permissions: dict[str, str] = field(default_factory=dict)
    redirect_uris: tuple[str, ...] = ()
    """Empty: any is taken."""


@dataclass
class Person:
    """A user of one world and the keys that are registered to it."""

    id: int
    name: str
    password: str
    keys: dict[str, Key] = field(default_factory=dict)
    email: str = ""
    is_organization: bool = False
    """A partner's user: a socket that does not ask for split responses is dropped."""


@dataclass
class Session:
    """One log-in. Its tokens come and go; closing it ends them all."""

    id: int
    person: Person
    key: Key | None
    device_id: str
    opened: datetime
    via: str
    closed_status: int | None = None
    """What its tokens are answered since it was closed."""
    foreign: Session | None = None
    """The session at the other world that this one follows."""

    @property
    def user_id(self) -> int:
        return self.person.id

    @property
    def is_open(self) -> bool:
        return self.closed_status is None

    def permission(self, domain: str) -> str:
        if self.key is None:
            return "full"
        permissions = self.key.permissions
        return permissions.get(domain, permissions.get("*", "full"))


@dataclass
class Token:
    text: str
    session: Session
    expires: datetime
    is_md: bool = False
    is_revoked: bool = False


@dataclass
class _Code:
    person: Person
    key: Key
    redirect_uri: str
    expires: datetime
    challenge: str
    challenge_method: str


class Auth:
    """The log-ins of one world. ``on_close`` is told of each session that ends."""

    def __init__(
        self, clock: Clock, switches: Switches, on_close: Callable[[Session], None]
    ) -> None:
        self._clock = clock
        self._switches = switches
        self._on_close = on_close
        self._ids = count(1)
        self._people: dict[str, Person] = {}
        self._sessions: list[Session] = []
        self._tokens: dict[str, Token] = {}
        self._codes: dict[str, _Code] = {}
        self._refreshes: dict[str, tuple[Session, datetime]] = {}

    # People.

    def register(self, person: Person) -> None:
        self._people[person.name] = person

    @property
    def people(self) -> list[Person]:
        return list(self._people.values())

    def person(self, name_or_id: str | int) -> Person:
        """Raises KeyError."""
        for person in self._people.values():
            if name_or_id in (person.id, person.name):
                return person
        raise KeyError(f"no user {name_or_id}")

    def key(self, cid: str) -> tuple[Person, Key] | None:
        for person in self._people.values():
            if cid in person.keys:
                return person, person.keys[cid]
        return None

    def check(self, name: str, password: str) -> Person | None:
        person = self._people.get(name)
        if person is None or not hmac.compare_digest(person.password, password):
            return None
        return person

    # Log-in by password.

    def log_in(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of accesstokenrequest; a refusal has an ``errorText``."""
        person = self.check(str(body.get("name", "")), str(body.get("password", "")))
        if person is None:
            return {"errorText": BAD_CREDENTIALS}
        cid = str(body.get("cid", ""))
        known = self.key(cid)
        key = person.keys.get(cid, known[1] if known else None)
        if key is None or key.sec != str(body.get("sec", "")):
            return {"errorText": UNKNOWN_APP}
        session = self.open(person, key, str(body.get("deviceId") or ""), via="password")
        return self._access(session, with_md=True)

    def open(self, person: Person, key: Key | None, device_id: str, *, via: str) -> Session:
        """A new session; the oldest ones above the limit are closed."""
        session = Session(next(self._ids), person, key, device_id, self._clock.now(), via)
        self._sessions.append(session)
        mine = self.sessions_of(person)
        for old in mine[: max(0, len(mine) - self._switches.max_sessions)]:
            self.close(old)
        return session

    def sessions_of(self, person: Person) -> list[Session]:
        """The open ones, oldest first."""
        return [s for s in self._sessions if s.person is person and s.is_open and s.foreign is None]

    def close(self, session: Session, status: int | None = None) -> None:
        if session.is_open:
            session.closed_status = status or self._switches.closed_session_status
            self._on_close(session)

    # Tokens.

    def identify(self, text: str | None, *, takes_md: bool = False) -> Session:
        """Whose token this is.

        Raises:
            Http: 401, or what a closed session is answered.
        """
        token = self._tokens.get(text or "")
        if token is None or (token.is_md and not takes_md):
            raise Http(401, DENIED)
        if token.session.closed_status is not None:
            raise _closed(token.session.closed_status)
        if token.is_revoked:
            raise _closed(self._switches.closed_session_status)
        if token.expires <= self._clock.now():
            raise Http(401, EXPIRED)
        return token.session

    def is_md(self, text: str) -> bool:
        return text in self._tokens and self._tokens[text].is_md

    def knows(self, text: str | None) -> bool:
        return (text or "") in self._tokens

    def adopt(self, foreign: Session) -> Session:
        """The session in this world of somebody who logged in at the other one.

        Raises:
            Http: 401, there is no user of that name here.
        """
        for session in self._sessions:
            if session.is_open and session.foreign is foreign:
                return session
        person = self._people.get(foreign.person.name)
        if person is None:
            raise Http(401, DENIED)
        session = Session(
            next(self._ids), person, foreign.key, foreign.device_id, foreign.opened, foreign.via
        )
        session.foreign = foreign
        self._sessions.append(session)
        return session

    def revoke_token(self, text: str) -> None:
        """Only this token: the session's other ones stay."""
        if text in self._tokens:
            self._tokens[text].is_revoked = True

    def renew(self, text: str | None) -> dict[str, Any]:
        session = self.identify(text)
        if self._switches.renewal_revokes_old and text:
            del self._tokens[text]
        return self._access(session, with_md=self._switches.renewal_returns_md_token)

    def me(self, session: Session) -> dict[str, Any]:
        person = session.person
        return {
            "userId": person.id,
            "name": person.name,
            "fullName": person.name.title(),
            "email": person.email or f"{person.name}@example.com",
            "emailVerified": True,
            "isTrial": False,
        }

    def tokens_of(self, person: Person | None) -> Iterator[Token]:
        return (t for t in self._tokens.values() if person in (None, t.session.person))

    def expire(self, person: Person | None) -> int:
        """Let every token be past its time; sessions and sockets stay."""
        tokens = list(self.tokens_of(person))
        for token in tokens:
            token.expires = self._clock.now()
        return len(tokens)

    def revoke(self, person: Person | None, status: int | None) -> int:
        """Close every session, as the service does above its limits."""
        sessions = [s for s in self._sessions if s.is_open and person in (None, s.person)]
        for session in sessions:
            self.close(session, status)
        return len(sessions)

    def _issue(self, session: Session, *, is_md: bool = False) -> Token:
        expires = self._clock.now() + timedelta(minutes=self._switches.token_minutes)
        token = Token(token_urlsafe(48), session, expires, is_md)
        self._tokens[token.text] = token
        return token

    def _access(self, session: Session, *, with_md: bool) -> dict[str, Any]:
        token = self._issue(session)
        answer: dict[str, Any] = {
            "accessToken": token.text,
            "expirationTime": iso(token.expires),
            "userStatus": "Active",
            "userId": session.person.id,
            "name": session.person.name,
            "hasLive": True,
            "outdatedTaC": False,
            "hasFunded": True,
            "hasMarketData": True,
            "outdatedLiquidationPolicy": False,
        }
        if with_md:
            answer["mdAccessToken"] = self._issue(session, is_md=True).text
        return answer

    # The authorization-code flow.

    def redirect(self, person: Person, key: Key, asked: dict[str, str]) -> str:
        """Where the browser goes after the log-in page, with a code that works once."""
        code = token_urlsafe(24)
        uri = asked.get("redirect_uri", "")
        self._codes[code] = _Code(
            person,
            key,
            uri,
            self._clock.now() + timedelta(seconds=_CODE_LIFE_S),
            asked.get("code_challenge", ""),
            asked.get("code_challenge_method", "plain"),
        )
        answer = {"code": code}
        if self._switches.oauth_echo_state and "state" in asked:
            answer["state"] = asked["state"]
        return f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}"

    def exchange(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The answer of oauthtoken: tokens, or ``error`` and ``error_description``."""
        known = self.key(str(asked.get("client_id", "")))
        grant = asked.get("grant_type")
        if known is None or known[1].sec != str(asked.get("client_secret", "")):
            return _oauth_error("invalid_client", "Unknown client or wrong secret")
        if grant == "authorization_code":
            return self._exchange_code(asked, known[1])
        if grant == "refresh_token":
            return self._exchange_refresh(asked, known[1])
        return _oauth_error("unsupported_grant_type", f"Grant {grant} is not supported")

    def _exchange_code(self, asked: dict[str, Any], key: Key) -> dict[str, Any]:
        code = self._codes.pop(str(asked.get("code", "")), None)
        if code is None or code.expires <= self._clock.now() or code.key.cid != key.cid:
            return _oauth_error("invalid_grant", "The code is unknown, used or expired")
        if asked.get("redirect_uri") != code.redirect_uri:
            return _oauth_error("invalid_grant", "redirect_uri differs")
        if code.challenge and not _is_verified(code, str(asked.get("code_verifier", ""))):
            return _oauth_error("invalid_grant", "code_verifier does not fit")
        return self._oauth_access(self.open(code.person, key, "", via="oauth"))

    def _exchange_refresh(self, asked: dict[str, Any], key: Key) -> dict[str, Any]:
        found = self._refreshes.pop(str(asked.get("refresh_token", "")), None)
        if found is None or found[1] <= self._clock.now():
            return _oauth_error("invalid_grant", "The refresh token is unknown, used or expired")
        session = found[0]
        if session.key is None or session.key.cid != key.cid:
            return _oauth_error("invalid_grant", "The refresh token is of another client")
        if not session.is_open:
            session = self.open(session.person, key, "", via="oauth")
        return self._oauth_access(session)

    def _oauth_access(self, session: Session) -> dict[str, Any]:
        token = self._issue(session)
        refresh = token_urlsafe(32)
        self._refreshes[refresh] = (
            session,
            self._clock.now() + timedelta(seconds=_REFRESH_LIFE_S),
        )
        return {
            "access_token": token.text,
            "token_type": "bearer",
            "expires_in": int(self._switches.token_minutes * 60),
            "refresh_token": refresh,
            "refresh_token_expires_in": _REFRESH_LIFE_S,
        }


def _closed(status: int) -> Http:
    return Http(status, DENIED if status == 401 else "")


def _oauth_error(error: str, description: str) -> dict[str, Any]:
    return {"error": error, "error_description": description}


def _is_verified(code: _Code, verifier: str) -> bool:
    if code.challenge_method == "S256":
        digest = hashlib.sha256(verifier.encode()).digest()
        verifier = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(verifier, code.challenge)
