-- What every service's database has. `private` is erasable (people, drafts, openings); `projection` can be rebuilt.
create schema if not exists private;
create schema if not exists projection;

-- The last sequence per aggregate that this service writes. Its row lock makes an aggregate's order the commit order.
create table chassis.aggregate (
    subject text collate "C" primary key,
    sequence bigint not null
) with (fillfactor = 80);

-- Every event that this service ever recorded, as the ledger must have it. Append-only.
create table chassis.event_log (
    id text collate "C" primary key,
    subject text collate "C" not null,
    sequence bigint not null,
    type text not null,
    leaf_hash bytea not null,
    leaf bytea not null,
    unique (subject, sequence)
);
create function chassis.refuse_change() returns trigger language plpgsql as
    $$ begin raise exception 'the event log is append-only'; end $$;
create trigger append_only before update or delete on chassis.event_log
    for each row execute function chassis.refuse_change();

-- Events on their way to Kafka: deleted once the broker has them, never skipped by a cursor.
create table chassis.outbox (
    position bigint generated always as identity primary key,
    key text collate "C" not null,
    topic text not null,
    record bytea not null,
    traceparent text,
    recorded_at timestamptz not null default clock_timestamp()
) with (toast_tuple_target = 8160);
-- What is sealed does not compress, and leaves again in a moment.
alter table chassis.outbox alter column record set storage external;

-- The last sequence of every aggregate of other services that took effect here.
create table chassis.mark (
    source text collate "C" not null,
    subject text collate "C" not null,
    sequence bigint not null,
    previous bigint not null, -- what the last mover read: whoever read something else has lost the race
    primary key (source, subject)
) with (fillfactor = 80);

-- Records that wait (not_yet: for their predecessor or what they rest on) or that cannot be read (poison).
create table chassis.parked (
    topic text not null,
    part int not null,
    position bigint not null,
    kind text not null check (kind in ('not_yet', 'poison')),
    source text collate "C",
    subject text collate "C",
    sequence bigint,
    reason text not null,
    record_key bytea,
    record bytea,
    headers jsonb not null default '[]',
    arrived_at timestamptz,
    parked_at timestamptz not null default clock_timestamp(),
    attempts int not null default 1,
    primary key (topic, part, position)
);
create index parked_key on chassis.parked (source, subject, sequence);

-- What must happen at a program time.
create table chassis.schedule (
    kind text not null,
    subject text collate "C" not null,
    due timestamptz not null,
    detail jsonb not null default '{}',
    primary key (kind, subject, due)
);
create index schedule_due on chassis.schedule (due);

-- Answers to POSTs with an Idempotency-Key, kept in the transaction of their effect; they may hold a secret.
create table private.idempotency (
    principal text not null,
    key text not null,
    request_sha256 bytea not null,
    status int,
    headers jsonb,
    body bytea,
    created_at timestamptz not null default clock_timestamp(),
    primary key (principal, key)
);

-- A person's id in a cycle's events: random, and erasable.
create table private.actor (
    issuer text not null,
    subject text not null,
    cycle text not null,
    actor text not null unique,
    primary key (issuer, subject, cycle)
);
