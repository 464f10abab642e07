-- Rebuilt from events: what probes found.
create table projection.probe (
    probe text collate "C" primary key,
    government text collate "C" not null,
    sequence bigint not null, -- of the event: in which order the government's probes were made
    event text not null,
    claims jsonb not null
);
create index probe_government on projection.probe (government, sequence);

-- Erasable: where governments' servers are, what was asked of them, and what is known of their answers.
create table private.open311 (
    government text collate "C" primary key references private.government,
    url text not null,
    jurisdiction text not null,
    failures int not null
);
create table private.probe_run (
    probe text collate "C" primary key,
    government text collate "C" not null,
    url text not null,
    host text not null,
    jurisdiction text not null,
    asked_at timestamptz not null, -- program time
    asked_by text, -- a person, or nobody: the schedule
    begun int not null default 0,
    leased_until timestamptz, -- machine time
    ended boolean not null default false,
    reason text -- why it failed
);
create unique index probe_run_waiting on private.probe_run (government) where not ended;
create index probe_run_government on private.probe_run (government, asked_at);
create table private.open311_answer (
    url text collate "C" primary key,
    content_type text not null,
    etag text not null,
    last_modified text not null,
    sha256 text not null, -- in the archive
    at timestamptz not null -- machine time
);
