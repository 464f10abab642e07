-- Follows from events.
alter table projection.cycle add column screened boolean not null default false;
create table projection.extension (
    application text collate "C" primary key,
    cycle text collate "C" not null,
    deadline timestamptz not null -- its own; the later one of this and the cycle's holds
);
create index extension_cycle on projection.extension (cycle);
create table projection.withdrawal_request (
    application text collate "C" primary key,
    event text not null
);
create table projection.screening (
    application text collate "C" primary key,
    cycle text collate "C" not null,
    submitted text not null, -- event of the version that was looked at
    verdict text not null check (verdict in ('eligible', 'ineligible', 'sent-back')),
    event text not null, -- of the verdict
    due timestamptz, -- of the question, where it was sent back
    answered text -- event of the answer
);
create index screening_cycle on projection.screening (cycle);

-- Erasable. What was submitted, as it was, with the receipt that was given for it.
create table private.version (
    application text collate "C" not null,
    version int not null,
    event text not null,
    leaf_hash bytea not null,
    submitted_at timestamptz not null,
    content jsonb not null, -- the event's sealed blocks
    receipt text not null, -- compact JWS
    primary key (application, version)
);
-- What was said in a screening and about a later deadline: by the events that say that it was said.
create table private.statement (
    event text collate "C" primary key,
    application text collate "C" not null,
    at timestamptz not null,
    kind text not null check (kind in ('eligible', 'ineligible', 'sent-back', 'answer', 'extension', 'withdrawal')),
    ground text not null,
    text text not null,
    due timestamptz
);
create index statement_application on private.statement (application, event);
-- Who of the program read which application.
create table private.read_log (
    at timestamptz not null default clock_timestamp(),
    issuer text not null,
    subject text not null,
    what text not null,
    application text not null
);
