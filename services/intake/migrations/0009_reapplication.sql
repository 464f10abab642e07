-- Erasable. From which version of an earlier application a draft started: what that says is read there, and not kept
-- twice. What it refers to may be gone: then there is nothing to be confirmed any more.
create table private.carried (
    application text collate "C" primary key references private.draft on delete cascade,
    source text collate "C" not null,
    version int not null,
    person text collate "C" not null,
    at timestamptz not null
);
create table private.confirmed (
    application text collate "C" not null references private.carried on delete cascade,
    field text collate "C" not null, -- RFC 6901, in the draft's document: what it said then, it says still
    person text collate "C" not null,
    at timestamptz not null,
    primary key (application, field)
);

-- Follows from events of scoring and awards: what reviewers gave, and what an announcement opened of it.
create table projection.scored (
    application text collate "C" primary key,
    cycle text collate "C" not null,
    criteria jsonb not null -- by criterion: {num, den}, or null where it did not apply
);
create table projection.designated (
    designation text collate "C" primary key,
    cycle text collate "C" not null,
    application text collate "C" not null
);
create index designated_application on projection.designated (application);
create index designated_cycle on projection.designated (cycle);
create table projection.announced (
    cycle text collate "C" primary key
);
