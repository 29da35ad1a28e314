"""What becomes of one request: who asks, how often, what a test spoils, what the books say."""

from __future__ import annotations

import asyncio

from tests.simulators.tradovate.server import lenient, permissions, snapshot
from tests.simulators.tradovate.server.calls import (
    DENIED,
    ORDER_CALLS,
    SOCKET,
    Answer,
    Call,
    dumps,
)
from tests.simulators.tradovate.server.faults import Rule, Rules
from tests.simulators.tradovate.server.journal import Journal
from tests.simulators.tradovate.server.limits import EndpointLimits, Penalties
from tests.simulators.tradovate.server.marketdata import MarketData
from tests.simulators.tradovate.server.sockets import Socket, Split, authorize
from tests.simulators.tradovate.server.switches import Switches
from tests.simulators.tradovate.server.ticking import Clock
from tests.simulators.tradovate.server.wire import Unreadable
from tests.simulators.tradovate.venue import Http

ANONYMOUS = frozenset({"auth/accesstokenrequest", "auth/oauthtoken", "authorize"})
_LOGIN = "auth/accesstokenrequest"
_RENEWAL = "auth/renewaccesstoken"
_SYNC = "user/syncrequest"
_EVENTS_LEAD_S = 0.05
"""With ``delay_until_events``: the client's time to work on the events before the answer."""
_LOOK_S = 0.02
_HTML = "<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"
_MALFORMED = '{"orderId":12'


class Desk:
    """Answers the requests of every world, from either door."""

    def __init__(self, clock: Clock, switches: Switches, market: MarketData) -> None:
        self._clock = clock
        self._switches = switches
        self._market = market
        self.rules = Rules()
        self.journal = Journal()
        self.limits = EndpointLimits()
        self.penalties = Penalties()

    async def answer(self, call: Call, socket: Socket | None = None) -> Answer:
        """``socket`` is the one that the request came through."""
        refusal = self._identify(call)
        entry = self.journal.open(call)
        if self._switches.latency_ms:
            await asyncio.sleep(self._switches.latency_ms / 1000)
        answer = refusal or self._over_budget(call)
        if answer is None:
            self._redeem_ticket(call)
            rule = self.rules.take(call)
            entry["fault"] = rule.do if rule else None
            answer = await self._spoiled(rule, call, socket)
        entry["status"] = None if answer.is_cut or answer.never else answer.status
        return answer

    # Before: may this be asked at all?

    def _identify(self, call: Call) -> Answer | None:
        if call.world.in_maintenance:
            return Answer(503, "Service Unavailable")
        if call.door == SOCKET or call.path in ANONYMOUS:
            return None
        try:
            call.session = call.world.identify(call.token)
        except Http as e:
            if call.path == "auth/me":
                self.limits.add(call.path, call.ip, self._clock.seconds())
            return Answer(e.status, e.text)
        return None

    def _over_budget(self, call: Call) -> Answer | None:
        if call.path in ANONYMOUS or call.session is None:
            return None
        budget = call.world.budget(call.session.user_id)
        return None if budget.take(self._clock.seconds()) else Answer(429)

    def _redeem_ticket(self, call: Call) -> None:
        if call.ticket is not None:
            call.forgiven = self.penalties.redeem(
                call.ticket, call.path, call.request, self._clock.seconds()
            )

    def _penalty(self, call: Call, seconds: float, *, captcha: bool = False) -> Answer:
        """A ticket; one that came too early or with another body costs the double time."""
        if call.ticket is not None and not call.forgiven:
            seconds = 2 * (self.penalties.seconds_of(call.ticket) or seconds)
            captcha = captcha or self.penalties.is_captcha(call.ticket)
        return Answer(
            200,
            self.penalties.issue(
                call.path,
                call.request,
                at=self._clock.seconds(),
                seconds=seconds,
                captcha=captcha,
            ),
        )

    def _endpoint_limit(self, call: Call) -> Answer | None:
        switches, at = self._switches, self._clock.seconds()
        table = {
            _LOGIN: (switches.login_failures_per_hour, 15, True, False),
            _RENEWAL: (switches.renewals_per_hour, 15, False, True),
            "auth/me": (switches.me_failures_per_hour, 30, False, False),
            _SYNC: (switches.syncs_per_hour, 3, False, True),
            "order/dryrun": (switches.dryruns_per_hour, 1, False, True),
        }
        if call.forgiven or call.path not in table:
            return None
        limit, seconds, captcha, counts_all = table[call.path]
        if self.limits.count(call.path, call.ip, at) >= limit:
            return self._penalty(call, seconds, captcha=captcha)
        if counts_all:
            self.limits.add(call.path, call.ip, at)
        return None

    # What a test spoils.

    async def _spoiled(self, rule: Rule | None, call: Call, socket: Socket | None) -> Answer:
        if call.ticket is not None and not call.forgiven:
            return self._penalty(call, 1)
        if rule is None:
            return self._execute(call, socket)
        before = await self._before(rule, call)
        if before is not None:
            return before
        answer = self._execute(call, socket)
        if rule.do == "accept_twice":
            self._execute(call, socket)
        return await self._after(rule, call, answer)

    async def _before(self, rule: Rule, call: Call) -> Answer | None:
        """The answer of a request that never reaches the books; None if it does."""
        if rule.do == "delay_ms":
            await asyncio.sleep(float(rule.value) / 1000)
            return None
        if rule.do == "p_ticket":
            asked = rule.value if isinstance(rule.value, dict) else {}
            seconds = float(asked.get("p-time", 1))
            return self._penalty(call, seconds, captcha=bool(asked.get("p-captcha")))
        if rule.do == "captcha":
            return self._penalty(call, 0, captcha=True)
        if rule.do == "status":
            return _failure(int(rule.value))
        if rule.do == "hang":
            await self._hang(rule)
            return Answer(0, is_cut=True)
        return _broken(rule.do)

    async def _after(self, rule: Rule, call: Call, answer: Answer) -> Answer:
        """What the client gets to see of a request that was executed."""
        if rule.do == "status_after":
            return _failure(int(rule.value))
        if rule.do == "delay_after_ms":
            await asyncio.sleep(float(rule.value) / 1000)
        elif rule.do == "hang_after":
            await self._hang(rule)
            return Answer(0, is_cut=True)
        elif rule.do == "delay_until_events" and call.session is not None:
            for socket in call.world.sockets_of(call.session.user_id):
                await socket.drained()
            await asyncio.sleep(_EVENTS_LEAD_S)
        elif rule.do.endswith("_after"):
            return _broken(rule.do.removesuffix("_after"), before=False) or answer
        return answer

    async def _hang(self, rule: Rule) -> None:
        """No answer until the rule is cleared, long after the client has left."""
        while self.rules.holds(rule):
            await asyncio.sleep(_LOOK_S)

    # What the books say.

    def _execute(self, call: Call, socket: Socket | None) -> Answer:
        penalty = self._endpoint_limit(call)
        if penalty is not None:
            return penalty
        try:
            if isinstance(call.body, Unreadable):
                raise Http(400, "Malformed JSON")
            return self._dispatch(call, socket)
        except Http as e:
            return Answer(e.status, e.text)

    def _dispatch(self, call: Call, socket: Socket | None) -> Answer:
        if call.path == "authorize" and socket is not None:
            return authorize(socket, call)
        if call.path.startswith("auth/"):
            return self._auth(call)
        session = call.session
        if session is None:
            raise Http(401, DENIED)
        self._check_rights(call, socket)
        if call.path.startswith("md/") and socket is not None:
            return Answer(200, self._market.answer(socket, call.path, call.fields))
        if call.path == _SYNC:
            return self._synchronize(call, socket)
        body = call.body if call.body is None or isinstance(call.body, dict) else {}
        if call.world.is_lenient:
            body = lenient.typed(body)
        venue = call.world.venue
        value = venue.call(session.user_id, call.path, call.query, body)
        return Answer(200, lenient.answer(venue, call.path, value))

    def _check_rights(self, call: Call, socket: Socket | None) -> None:
        session, world = call.session, call.world
        assert session is not None
        domain, asked = permissions.needed(call.path)
        if not permissions.allows(session.permission(domain), asked):
            raise Http(401, DENIED)
        is_md_only = socket is not None and socket.is_md_only and not world.is_lenient
        if is_md_only and domain != "marketdata":
            raise Http(401, DENIED)
        needs_device = (
            world.is_live_apart
            and self._switches.live_needs_device
            and session.via == "password"
            and call.path in ORDER_CALLS
        )
        if needs_device and not session.device_id:
            raise Http(401, DENIED)

    def _auth(self, call: Call) -> Answer:
        auth = call.world.auth
        if call.path == _LOGIN:
            return self._log_in(call)
        if call.path == _RENEWAL:
            return Answer(200, call.world.owner_of(call.token).renew(call.token))
        if call.path == "auth/me":
            if call.session is None:
                raise Http(401, DENIED)
            return Answer(200, auth.me(call.session))
        if call.path == "auth/oauthtoken":
            return self._exchange(call)
        raise Http(404)

    def _log_in(self, call: Call) -> Answer:
        value = call.world.auth.log_in(call.fields)
        if "errorText" not in value:
            return Answer(200, value)
        self.limits.add(_LOGIN, call.ip, self._clock.seconds())
        status = self._switches.bad_login_status
        return Answer(status, value if status == 200 else value["errorText"])

    def _exchange(self, call: Call) -> Answer:
        if self._switches.demo_refuses_oauth and call.world.name == "demo":
            raise Http(429)
        value = call.world.auth.exchange(call.fields)
        if "error" in value and self._switches.oauth_error_status != 200:
            return Answer(self._switches.oauth_error_status, raw=dumps(value))
        return Answer(200, value)

    def _synchronize(self, call: Call, socket: Socket | None) -> Answer:
        session = call.session
        if socket is None or session is None:
            raise Http(404)
        if socket.has_synced and self._switches.one_sync_per_socket:
            raise Http(400, "Only one synchronization request per connection")
        wanted = snapshot.subscription(call.world, call.fields)
        if session.person.is_organization and not wanted.is_split:
            return Answer(0, is_cut=True)
        picture = snapshot.picture(call.world, session, wanted, call.fields)
        socket.has_synced = True
        socket.subscription = wanted
        return Answer(200, Split(picture) if wanted.is_split else picture)


def _failure(status: int) -> Answer:
    texts = {401: DENIED, 500: "Internal Server Error", 503: "Service Unavailable"}
    return Answer(status, texts.get(status, ""))


def _broken(do: str, *, before: bool = True) -> Answer | None:
    """``drop``, ``html`` and ``malformed``; the first is ``drop_before`` before execution."""
    if do == ("drop_before" if before else "drop"):
        return Answer(0, is_cut=True)
    if do == "html":
        return Answer(200, raw=_HTML, content_type="text/html")
    if do == "malformed":
        return Answer(200, raw=_MALFORMED)
    return None
