"""Every group that reads events has a topic for what it cannot take; no other group has one."""

from __future__ import annotations

from schemas.topics import COMMANDS, TOPICS, dead_letters
from services.origin import SERVICES
from tests.contract.test_subscribers import made


def test_every_pair_of_event_topic_and_group_has_its_dead_letters_and_commands_have_none() -> None:
    consumers = [consumer for name in SERVICES for consumer in made(name).consumers]
    needed = {dead_letters(topic, c.group).name for c in consumers if c.inbox.parks for topic in c.topics}
    assert needed == {topic.name for topic in TOPICS if topic.name.endswith(".dlt")}
    assert [c.inbox.parks for c in consumers if COMMANDS.name in c.topics] == [False]
