"""The embedded Apache Kafka and PostgreSQL are a broker and a database that the chassis can stand on."""

from __future__ import annotations

import pytest

from deploy.embedded import Stack
from tests.behaviour.broker import BrokerBehaviour
from tests.behaviour.database import DatabaseBehaviour

pytestmark = pytest.mark.long


class TestEmbeddedKafka(BrokerBehaviour):
    @pytest.fixture
    def parts(self, embedded: Stack) -> Stack:
        return embedded


class TestEmbeddedPostgreSQL(DatabaseBehaviour):
    @pytest.fixture
    def parts(self, embedded: Stack) -> Stack:
        return embedded
