"""Accounts at Tradovate by their pages alone, without JavaScript."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from apiflask import APIFlask
from flask import Flask

from app import clock, create_app
from app.domain.errors import BrokerRefused
from app.extensions import db
from app.models import LiveBalance
from app.services import logins, user_data
from config import Config, load
from tests import factories
from tests.apps import started
from tests.integration.pages import things
from tests.integration.pages.things import words
from tests.login_broker import FakeLoginBroker, found
from tests.people import Person, register

PASSWORD, SECRET = "correct horse battery", "f03741b6-f634-48d6-9308-c8fb871150c2"
LOG_IN = {
    "environment": "demo",
    "username": "jo",
    "password": PASSWORD,
    "client_id": "8",
    "client_secret": SECRET,
}


def _attached(app: Flask) -> FakeLoginBroker:
    with app.app_context():
        broker = FakeLoginBroker(logins.Store(db.engine))
        user_data.attach("tradovate", broker)  # type: ignore[arg-type]
    broker.add("demo", "jo", PASSWORD, found("33"))
    broker.add("live", "jo", PASSWORD, found("71", "LIVE71"))
    broker.add("demo", "many", PASSWORD, found("41"), found("42"), found("43", note="closed"))
    return broker


@pytest.fixture
def broker(app: APIFlask) -> FakeLoginBroker:
    return _attached(app)


@pytest.fixture
def person(app: Flask) -> Person:
    return register(app)


def _sealed(page: str) -> str:
    match = re.search(r'name="sealed" value="([^"]+)"', page)
    assert match is not None, page
    return match[1]


def _tested(person: Person, **changes: str) -> str:
    answer = person.form("/accounts/log-in/", **{**LOG_IN, **changes})
    assert answer.status_code == 200, answer.text
    return answer.text


def _opened(person: Person, id: str = "33", **changes: str) -> int:
    sealed = _sealed(_tested(person, **changes))
    more = {"understood": "1"} if changes.get("environment") == "live" else {}
    answer = person.form(
        "/accounts/choose/", sealed=sealed, account=id, **{f"name-{id}": f"TV {id}"}, **more
    )
    assert answer.status_code == 303, answer.text
    return int(answer.location.split("/")[2])


def _shown(person: Person, account_id: int) -> Any:
    return person.get(f"/api/accounts/{account_id}/").get_json()


def test_the_new_page_offers_paper_and_tradovate(person: Person, broker: FakeLoginBroker) -> None:
    paper = person.client.get("/accounts/new/").text
    tradovate = person.client.get("/accounts/new/?broker=tradovate").text

    assert 'href="/accounts/new/?broker=tradovate"' in paper
    assert 'name="client_secret"' in tradovate
    assert "API Access" in tradovate
    assert "/oauth/tradovate/start/" not in tradovate


def test_an_account_is_tested_chosen_and_opened(person: Person, broker: FakeLoginBroker) -> None:
    listed = _tested(person)
    assert "The log-in works." in listed
    assert "DEMO33" in listed
    assert person.get("/api/accounts/").get_json()["total"] == 0

    answer = person.form(
        "/accounts/choose/", sealed=_sealed(listed), account="33", **{"name-33": "Mine"}
    )

    page = words(person.client.get(answer.location).text)
    assert "Mine" in page
    assert "DEMO" in page
    assert "Signs in with" in page
    assert "Open since" in page
    assert "4,812 of 5,000 left, 1,000 of them kept for exits and cancels" in page


def test_no_page_repeats_a_secret(person: Person, broker: FakeLoginBroker) -> None:
    listed = _tested(person)
    wrong = person.form("/accounts/log-in/", **{**LOG_IN, "username": "nobody"}).text
    account_id = _opened(person)
    shown = person.client.get(f"/accounts/{account_id}/").text

    for page in (listed, wrong, shown):
        assert PASSWORD not in page
        assert SECRET not in page


def test_wrong_credentials_are_refused_in_the_brokers_words(
    person: Person, broker: FakeLoginBroker
) -> None:
    answer = person.form("/accounts/log-in/", **{**LOG_IN, "password": "wrong"})

    assert answer.status_code == 422
    assert "Incorrect username or password" in answer.text
    assert 'value="jo"' in answer.text


def test_what_is_missing_stands_beside_its_field(person: Person, broker: FakeLoginBroker) -> None:
    answer = person.form("/accounts/log-in/", **{**LOG_IN, "client_id": ""})

    assert answer.status_code == 422
    assert 'id="client_id-error"' in answer.text
    assert broker.tried == []


def test_of_several_accounts_those_that_are_ticked_are_opened(
    person: Person, broker: FakeLoginBroker
) -> None:
    listed = _tested(person, username="many")
    assert "Cannot be traded: closed" in listed
    names = {"name-41": "First", "name-42": "Second", "name-43": "Third"}
    sealed = _sealed(listed)

    none = person.form("/accounts/choose/", sealed=sealed, **names)
    both = person.client.post(
        "/accounts/choose/",
        data={"csrf_token": person.csrf, "sealed": sealed, "account": ["41", "42"], **names},
    )

    assert none.status_code == 422
    assert "Choose at least one account." in none.text
    assert both.status_code == 303
    items = person.get("/api/accounts/").get_json()["items"]
    assert [i["name"] for i in items] == ["First", "Second"]
    assert len({i["login_id"] for i in items}) == 1
    assert len({tried["device_id"] for tried in broker.tried}) == 1


def test_more_accounts_of_a_log_in_are_opened_later(
    person: Person, broker: FakeLoginBroker
) -> None:
    account_id = _opened(person, "41", username="many")
    path = f"/accounts/{account_id}/others/"

    page = person.client.get(path).text
    answer = person.form(path, account="42", **{"name-42": "Second"})

    assert "Open here already" in page
    assert answer.status_code == 303
    assert person.get("/api/accounts/").get_json()["total"] == 2


def test_a_live_account_is_opened_only_by_who_says_so(
    person: Person, broker: FakeLoginBroker
) -> None:
    listed = _tested(person, environment="live")
    body = {"sealed": _sealed(listed), "account": "71", "name-71": "Real"}

    unsaid = person.form("/accounts/choose/", **body)
    said = person.form("/accounts/choose/", **body, understood="1")

    assert "jt-badge--live" in listed
    assert unsaid.status_code == 422
    assert "trade real money" in unsaid.text
    page = person.client.get(said.location).text
    assert "jt-badge--live" in page
    assert "jt-badge--live" in person.client.get("/accounts/").text


def test_a_sealed_form_is_of_one_person_and_lasts_a_while(
    app: Flask, person: Person, broker: FakeLoginBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = _sealed(_tested(person))
    body = {"account": "33", "name-33": "Mine", "sealed": sealed}
    now = clock.now()

    stranger = register(app, "bob").form("/accounts/choose/", **body)
    altered = person.form("/accounts/choose/", **{**body, "sealed": sealed[:-4] + "AAAA"})
    monkeypatch.setattr(clock, "now", lambda: now + 2 * logins._SEALED_FOR)
    late = person.form("/accounts/choose/", **body)

    for answer in (stranger, altered, late):
        assert answer.status_code == 303
        assert answer.location == "/accounts/new/?broker=tradovate"
    assert person.get("/api/accounts/").get_json()["total"] == 0


def test_credentials_are_replaced_and_bad_ones_are_not(
    person: Person, broker: FakeLoginBroker
) -> None:
    account_id = _opened(person)
    path = f"/accounts/{account_id}/credentials/"
    new = {k: v for k, v in LOG_IN.items() if k != "environment"} | {"password": "new one"}

    refused = person.form(path, **new)
    said = words(refused.text)
    broker.add("demo", "jo", "new one", found("33"))
    person.form(path, **new)

    assert "The credentials were not replaced." in said
    assert "Incorrect username or password" in said
    assert 'value="jo"' in refused.text
    with person.app.app_context():
        assert broker.store.credentials(_shown(person, account_id)["login_id"])["password"] == (
            "new one"
        )


def test_a_stream_is_ended_and_started_on_the_page(person: Person, broker: FakeLoginBroker) -> None:
    account_id = _opened(person)
    path = f"/accounts/{account_id}/"

    person.form(path + "disconnect/")
    ended = words(person.client.get(path).text)
    person.form(path + "connect/")
    begun = words(person.client.get(path).text)

    assert "Stopped since" in ended
    assert "Open since" in begun


def test_a_refused_log_in_says_why_on_the_page(person: Person, broker: FakeLoginBroker) -> None:
    account_id = _opened(person)
    broker.add("demo", "jo", "changed at the broker", found("33"))
    path = f"/accounts/{account_id}/"

    person.form(path + "disconnect/")
    person.form(path + "connect/")
    tested = person.form(path + "test/")

    page = words(person.client.get(tested.location).text)
    assert "The connection does not work." in page
    assert page.count("Incorrect username or password") >= 2


def test_money_is_what_the_broker_last_said_and_since_when(
    person: Person, broker: FakeLoginBroker
) -> None:
    account_id = _opened(person)
    before = words(person.client.get(f"/accounts/{account_id}/").text)
    factories.store(
        LiveBalance(
            user_id=person.id,
            account_id=account_id,
            currency="USD",
            cash=Decimal("51000.25"),
            reserved=Decimal(0),
            equity=Decimal("51100.25"),
            as_of=clock.now(),
        )
    )
    broker.fails = BrokerRefused("must not be asked for a page")

    page = words(person.client.get(f"/accounts/{account_id}/").text)

    assert "no word from the broker yet" in before
    assert "$51,100.25" in page
    assert "$51,100.25" in words(person.client.get("/accounts/").text)


def test_an_account_of_somebody_else_is_not_there(
    app: Flask, person: Person, broker: FakeLoginBroker
) -> None:
    account_id = _opened(person)
    bob = register(app, "bob")

    for part in ("credentials", "test", "connect", "disconnect", "others"):
        assert bob.form(f"/accounts/{account_id}/{part}/").status_code == 404
    assert bob.client.get(f"/accounts/{account_id}/others/").status_code == 404


def test_paper_pages_know_nothing_of_log_ins(person: Person, broker: FakeLoginBroker) -> None:
    account_id = things.account(person)

    page = person.client.get(f"/accounts/{account_id}/").text

    assert "User-data stream" not in page
    assert "Replace the credentials" not in page


# Signing in on Tradovate's own page.


@pytest.fixture
def oauth_config(config: Config) -> Config:
    return load(
        {
            "SECRET_KEY": config.secret_key,
            "CREDENTIALS_KEY": config.credentials_key,
            "DATA_DIR": str(config.data_dir),
            "DATABASE_URL": config.database_url,
            "BCRYPT_ROUNDS": "4",
            "TRADOVATE_CLIENT_ID": "app",
            "TRADOVATE_CLIENT_SECRET": "s",
            "PUBLIC_URL": "https://trades.example.com",
        }
    )


class Visitor:
    """A signed-in browser at an app that is registered with Tradovate."""

    def __init__(self, app: APIFlask) -> None:
        self.app = app
        self.broker = _attached(app)
        self.person = register(app)

    def start(self, environment: str = "demo") -> dict[str, str]:
        answer = self.get(f"/oauth/tradovate/start/?environment={environment}")
        assert answer.status_code == 302, answer.text
        self.at = answer.location
        return {k: v[0] for k, v in parse_qs(urlsplit(answer.location).query).items()}

    def get(self, path: str, **headers: str) -> Any:
        return self.person.client.get(path, base_url="https://trades.example.com", headers=headers)

    def back(self, query: str) -> Any:
        return self.get(f"/oauth/tradovate/callback/?{query}")

    def post(self, path: str, **fields: str) -> Any:
        return self.person.client.post(
            path,
            data={"csrf_token": self.person.csrf, **fields},
            base_url="https://trades.example.com",
            headers={"Referer": "https://trades.example.com/"},
        )

    def words_after(self, answer: Any) -> str:
        assert answer.status_code == 302
        assert answer.location == "/accounts/new/?broker=tradovate"
        return words(self.get(answer.location).text)


@pytest.fixture
def visitor(oauth_config: Config) -> Any:
    app = create_app(oauth_config)
    app.testing = True
    with started(app):
        made = Visitor(app)
        # The cookie is for https alone, as PUBLIC_URL says; the helper signed in without it.
        answer = made.person.client.post(
            "/api/auth/login/",
            json={"login": "alice", "password": "nine purple anvils"},
            base_url="https://trades.example.com",
        )
        made.person.csrf = answer.get_json()["csrf_token"]
        yield made


def test_the_way_to_tradovate_names_us_and_nothing_secret(visitor: Visitor) -> None:
    page = visitor.get("/accounts/new/?broker=tradovate").text
    asked = visitor.start("live")

    assert "/oauth/tradovate/start/?environment=live" in page
    assert visitor.at.startswith("https://trader.tradovate.com/oauth?")
    assert asked["response_type"] == "code"
    assert asked["client_id"] == "app"
    assert asked["redirect_uri"] == "https://trades.example.com/oauth/tradovate/callback/"
    assert set(asked) == {"response_type", "client_id", "redirect_uri", "state"}


@pytest.mark.parametrize("echoes_state", [True, False])
def test_who_comes_back_chooses_accounts(visitor: Visitor, echoes_state: bool) -> None:
    state = visitor.start()["state"]
    visitor.broker.codes["c1"] = "jo"

    listed = visitor.back(f"code=c1&state={state}" if echoes_state else "code=c1")
    opened = visitor.post(
        "/accounts/choose/", sealed=_sealed(listed.text), account="33", **{"name-33": "Mine"}
    )

    assert opened.status_code == 303, opened.text
    login_id = visitor.get("/api/accounts/").get_json()["items"][0]["login_id"]
    assert visitor.get("/api/accounts/").get_json()["items"][0]["credentials"] == {"oauth": "set"}
    assert visitor.broker.redirects == ["https://trades.example.com/oauth/tradovate/callback/"]
    with visitor.app.app_context():
        assert visitor.broker.store.token(login_id) == {"access_token": "token-of-jo"}
        assert "token" not in visitor.broker.store.credentials(login_id)


def test_signing_in_again_renews_the_log_in_that_is_there(visitor: Visitor) -> None:
    for code in ("c1", "c2"):
        visitor.broker.codes[code] = "jo"
    visitor.start()
    first = visitor.back("code=c1").text
    visitor.post("/accounts/choose/", sealed=_sealed(first), account="33", **{"name-33": "Mine"})
    account_id = visitor.get("/api/accounts/").get_json()["items"][0]["id"]

    visitor.start()
    second = visitor.back("code=c2").text
    answer = visitor.post("/accounts/choose/", sealed=_sealed(second), replace=str(account_id))

    assert "Use this sign-in for DEMO33" in second
    assert "The credentials were replaced." in words(visitor.get(answer.location).text)
    assert visitor.get("/api/accounts/").get_json()["total"] == 1


def test_a_return_that_was_not_begun_here_ends_with_words(visitor: Visitor) -> None:
    visitor.broker.codes["c1"] = "jo"
    not_begun = visitor.words_after(visitor.back("code=c1"))
    visitor.start()
    other_state = visitor.words_after(visitor.back("code=c1&state=forged"))
    used_up = visitor.words_after(visitor.back("code=c1"))

    for said in (not_begun, other_state, used_up):
        assert "was not begun here" in said
    assert visitor.broker.codes == {"c1": "jo"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("error=access_denied&error_description=You+said+no", "You said no"),
        ("error=server_error", "server_error"),
        ("error=%3Cscript%3E", "Tradovate did not sign you in"),
        ("", "sent no code along"),
        ("code=reused", "invalid_grant"),
    ],
)
def test_what_goes_wrong_at_tradovate_ends_with_words(
    visitor: Visitor, query: str, said: str
) -> None:
    visitor.start()

    assert said in visitor.words_after(visitor.back(query))


def test_a_page_elsewhere_cannot_begin_a_sign_in(visitor: Visitor) -> None:
    answer = visitor.get("/oauth/tradovate/start/", **{"Sec-Fetch-Site": "cross-site"})

    assert "was not begun here" in visitor.words_after(answer)


def test_without_an_application_of_ours_it_is_not_offered(
    person: Person, broker: FakeLoginBroker
) -> None:
    answer = person.client.get("/oauth/tradovate/start/?environment=demo")

    assert answer.location == "/accounts/new/?broker=tradovate"
    assert "is not set up here" in words(person.client.get(answer.location).text)
