"""Which pairs may sign a callback, during and after a rotation."""

from datetime import UTC, datetime, timedelta

from app.core.ports import CallbackPair
from app.store.callback_pairs import MOST_PREVIOUS, pairs_of, proven, rotated

AT = datetime(2026, 1, 1, tzinfo=UTC)
EXTRA = {"token": "extra", "encoding_aes_key": "x" * 43}


def pair(name: str) -> CallbackPair:
    return CallbackPair(name, name * 43, "corp")


def tokens(secrets: dict[str, object], at: datetime = AT) -> list[str]:
    return [pair.token for pair in pairs_of(secrets, "corp", at)[0]]


def test_no_pair_awaits_nothing() -> None:
    assert pairs_of({}, "corp", AT) == ((), None)


def test_extra_receivers_come_last() -> None:
    secrets = rotated(rotated({"extra_callback_pairs": [EXTRA]}, pair("a"), 60, AT), pair("b"), 60, AT)
    assert tokens(secrets) == ["b", "a", "extra"]


def test_the_first_pair_of_a_source_has_nothing_to_replace() -> None:
    secrets = rotated({}, pair("a"), 60, AT)
    assert pairs_of(secrets, "corp", AT) == ((pair("a"),), None)
    assert proven(secrets, pair("a"), AT) is None


def test_the_grace_begins_when_the_new_pair_is_first_used() -> None:
    secrets = rotated(rotated({}, pair("a"), 60, AT), pair("b"), 60, AT)
    assert tokens(secrets, AT + timedelta(days=400)) == ["b", "a"]
    used = proven(secrets, pair("b"), AT + timedelta(days=1))
    assert used is not None
    assert tokens(used, AT + timedelta(days=1, seconds=59)) == ["b", "a"]
    assert tokens(used, AT + timedelta(days=1, seconds=60)) == ["b"]
    assert pairs_of(used, "corp", AT + timedelta(days=1))[1] is None
    assert proven(used, pair("b"), AT + timedelta(days=1, seconds=1)) is None


def test_use_of_an_old_or_extra_pair_proves_nothing() -> None:
    secrets = rotated(rotated({"extra_callback_pairs": [EXTRA]}, pair("a"), 60, AT), pair("b"), 60, AT)
    assert proven(secrets, pair("a"), AT) is None
    assert proven(secrets, CallbackPair("extra", "x" * 43, "corp"), AT) is None


def test_a_second_rotation_before_the_first_was_used_keeps_both_old_pairs() -> None:
    secrets = rotated({}, pair("a"), 60, AT)
    for name in "bc":
        secrets = rotated(secrets, pair(name), 60, AT)
    assert tokens(secrets) == ["c", "b", "a"]
    used = proven(secrets, pair("c"), AT)
    assert used is not None
    assert tokens(used, AT + timedelta(seconds=61)) == ["c"]


def test_a_running_grace_is_not_prolonged_by_a_further_rotation() -> None:
    secrets = proven(rotated(rotated({}, pair("a"), 60, AT), pair("b"), 60, AT), pair("b"), AT)
    assert secrets is not None
    secrets = rotated(secrets, pair("c"), 60, AT + timedelta(seconds=30))
    assert tokens(secrets, AT + timedelta(seconds=59)) == ["c", "b", "a"]
    assert tokens(secrets, AT + timedelta(seconds=61)) == ["c", "b"]


def test_old_pairs_do_not_pile_up() -> None:
    secrets: dict[str, object] = {}
    for name in "abcdefgh":
        secrets = rotated(secrets, pair(name), 60, AT)
    assert len(tokens(secrets)) == 1 + MOST_PREVIOUS


def test_removing_the_own_pair_ends_the_rotation() -> None:
    secrets = rotated(rotated({}, pair("a"), 60, AT), pair("b"), 60, AT)
    without = {name: value for name, value in secrets.items() if name not in ("token", "encoding_aes_key")}
    assert pairs_of(without, "corp", AT) == ((), None)
