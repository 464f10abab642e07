"""Apache Kafka and PostgreSQL in containers are a broker and a database that the chassis can stand on."""

from __future__ import annotations

import pytest

from deploy.embedded import Stack
from tests.behaviour.broker import BrokerBehaviour
from tests.behaviour.database import DatabaseBehaviour

pytestmark = pytest.mark.containers


class TestContainedKafka(BrokerBehaviour):
    @pytest.fixture
    def parts(self, containers: Stack) -> Stack:
        return containers


class TestContainedPostgreSQL(DatabaseBehaviour):
    @pytest.fixture
    def parts(self, containers: Stack) -> Stack:
        return containers
