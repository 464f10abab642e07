-- Schema `ledger` is the archive itself: rebuilt from nothing, so in neither `projection` nor `private`.
create schema ledger;

create function ledger.refuse_change() returns trigger language plpgsql as
    $$ begin raise exception 'the ledger is append-only'; end $$;

-- `leaf` is stored exactly as it was hashed. An event has one place in one log, and one in the feed over all logs.
create table ledger.entry (
    log text collate "C" not null,
    index bigint not null,
    id text collate "C" not null unique,
    type text collate "C" not null,
    source text collate "C" not null,
    subject text collate "C" not null,
    sequence bigint not null,
    leaf_hash bytea not null,
    leaf bytea not null,
    -- Given under the sequencer's lock, hence in the order of the commits: whoever read up to one has missed nothing.
    position bigint generated always as identity unique,
    primary key (log, index),
    unique (source, subject, sequence)
);
create index entry_type on ledger.entry (log, type, index);
create trigger append_only before update or delete on ledger.entry
    for each row execute function ledger.refuse_change();
create trigger append_only_whole before truncate on ledger.entry
    for each statement execute function ledger.refuse_change();

-- What was signed: one note per size, kept for ever, so that no second tree can be signed at a size.
create table ledger.checkpoint (
    log text collate "C" not null,
    size bigint not null,
    note bytea not null,
    signed_at timestamptz not null default clock_timestamp(),
    primary key (log, size)
);
create trigger append_only before update or delete on ledger.checkpoint
    for each row execute function ledger.refuse_change();
create trigger append_only_whole before truncate on ledger.checkpoint
    for each statement execute function ledger.refuse_change();

-- Events that contradict what is logged or held: evidence of a fault or a forgery, never appended.
create table ledger.alarm (
    id text collate "C" not null,
    leaf_hash bytea not null,
    kind text not null check (kind in ('same id, other bytes', 'same sequence, other id', 'not written by the ledger')),
    log text collate "C" not null,
    source text collate "C" not null,
    subject text collate "C" not null,
    sequence bigint not null,
    leaf bytea not null,
    raised_at timestamptz not null default clock_timestamp(),
    primary key (id, leaf_hash)
);

-- The openings of sealed blocks: erasable, apart from the leaves, which stay provable without them.
create table private.disclosure (
    log text collate "C" not null,
    index bigint not null,
    block text collate "C" not null,
    opening text not null,
    primary key (log, index, block)
);

-- Who read private data, when, and up to which entry; of the feed over all logs (log '*'), up to which position.
create table private.read_log (
    read_at timestamptz not null default clock_timestamp(),
    issuer text not null,
    subject text not null,
    what text not null,
    log text collate "C" not null,
    size bigint not null
);

-- Events whose predecessor, cause or log is not in yet, as they came: with their openings.
create table private.held (
    position bigint generated always as identity primary key,
    id text collate "C" not null unique,
    type text not null,
    source text collate "C" not null,
    subject text collate "C" not null,
    sequence bigint not null,
    cause text collate "C",
    log text collate "C" not null,
    leaf_hash bytea not null,
    record bytea not null,
    held_at timestamptz not null default clock_timestamp(),
    warned boolean not null default false,
    unique (source, subject, sequence)
);
create index held_cause on private.held (cause);
create index held_log on private.held (log);

-- Rebuilt from the entries: one log per cycle, and `program`. The tree's state moves in the transaction that appends.
create table projection.log (
    log text collate "C" primary key,
    origin text collate "C" not null unique,
    verifier_key text not null,
    size bigint not null default 0,
    root bytea not null,
    frontier bytea not null
);
