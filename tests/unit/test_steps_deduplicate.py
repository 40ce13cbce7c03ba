"""The cleaning step `deduplicate`."""

from herdbook.core.types import Conversation, Message
from herdbook.data.steps.deduplicate import Config, apply


def pair(name: str, question: str, answer: str) -> Conversation:
    return Conversation(name, "s", (Message("user", question), Message("assistant", answer)))


def test_the_first_of_equal_conversations_stays():
    given = [pair("1", "Hello  there", "Hi"), pair("2", "other", "Hi"), pair("3", " hello there\n", "HI")]
    outcome = apply(given, Config(), {})
    assert [c.id for c in outcome.kept] == ["1", "2"]
    (drop,) = outcome.dropped
    assert (drop.conversation.id, drop.reason) == ("3", "repeats an earlier conversation")
    assert drop.evidence["first"] == "1"


def test_what_differs_in_roles_turns_or_punctuation_stays():
    swapped = Conversation("b", "s", (Message("assistant", "q"), Message("user", "a")))
    joined = Conversation("d", "s", (Message("user", "q a"),))
    given = [pair("a", "q", "a"), swapped, pair("c", "q", "a."), joined, pair("e", "q a", "")]
    assert apply(given, Config(), {}).kept == given
