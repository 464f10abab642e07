"""The contract between the services: event types, the envelope, the charter, topics. No I/O, no service, no library but pydantic."""
