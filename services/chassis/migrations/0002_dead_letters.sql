-- A dead letter leaves through the outbox as its record came: with its own key and headers, which may be anything.
alter table chassis.outbox
    alter column record drop not null,
    add column letter jsonb; -- null for an event; else {"key": hex or null, "headers": [[name, hex or null], …]}

-- Poison that somebody asked to have tried again.
alter table chassis.parked add column again boolean not null default false;
create index parked_again on chassis.parked (topic) where again;
create index parked_poison on chassis.parked (source, subject, sequence) where kind = 'poison';

-- Where a consumer stopped because too many events in a row were poison, and whether somebody told it to go on.
create table chassis.breaker (
    consumer_group text not null,
    topic text not null,
    part int not null,
    position bigint not null,
    reason text not null,
    tripped_at timestamptz not null default clock_timestamp(),
    go_on boolean not null default false,
    primary key (consumer_group, topic, part)
);
