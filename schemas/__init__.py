"""The contract between the services: event types, the envelope, the charter, topics. No I/O and no service."""
