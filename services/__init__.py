"""Five services that share nothing but event schemas and Kafka, their chassis, and the command line."""
