from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services import secrets

KEY = "a key for tests, long enough to be one"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.text("abc:0123456789"))
def test_what_is_encrypted_can_be_read_again(plain: str, context: str) -> None:
    secrets.bind(KEY)

    sealed = secrets.encrypt(plain, context)

    assert secrets.decrypt(sealed, context) == plain
    assert len(plain) < 8 or plain not in sealed


def test_the_same_secret_never_looks_the_same() -> None:
    secrets.bind(KEY)

    assert secrets.encrypt("x", "account:1") != secrets.encrypt("x", "account:1")


@pytest.mark.parametrize("change", ["context", "key", "text", "nonsense", "empty"])
def test_it_opens_for_its_own_key_context_and_text_alone(change: str) -> None:
    secrets.bind(KEY)
    sealed, context = secrets.encrypt("secret", "account:1"), "account:1"

    if change == "context":
        context = "account:2"
    elif change == "key":
        secrets.bind(KEY + "!")
    elif change == "text":
        sealed = sealed[:-5] + ("A" if sealed[-5] != "A" else "B") + sealed[-4:]
    else:
        sealed = "" if change == "empty" else "no base64 at all"

    with pytest.raises(secrets.WrongKey):
        secrets.decrypt(sealed, context)


def test_tokens_are_long_plain_and_differ() -> None:
    tokens = {secrets.new_token() for _ in range(100)}

    assert len(tokens) == 100
    assert all(re.fullmatch("[a-z0-9]{26}", token) for token in tokens)


def test_a_token_is_kept_as_its_sha_256() -> None:
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

    assert secrets.hash_token("abc") == expected
