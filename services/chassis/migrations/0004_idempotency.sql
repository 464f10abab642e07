-- What is old is looked for every hour.
create index idempotency_created on private.idempotency (created_at);
