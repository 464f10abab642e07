"""Apache Kafka and PostgreSQL as child processes of the program that uses them.

Nothing is installed by hand: Kafka's jars are fetched once and checked against pinned SHA-256 sums, Java and PostgreSQL
come as wheels (the extra `embedded`). Both listen on 127.0.0.1 only and never outlive their owner.
"""

from deploy.embedded.process import EmbeddedError
from deploy.embedded.stack import Stack

__all__ = ["EmbeddedError", "Stack"]
