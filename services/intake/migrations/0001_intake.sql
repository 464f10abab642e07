-- Rebuilt from events: cycles, memberships, and applications from their first submission on.
create table projection.cycle (
    cycle text collate "C" primary key,
    program text not null,
    charter text not null, -- the TOML, exactly as given
    charter_sha256 text not null,
    first_deadline timestamptz not null,
    assignment_commitment text not null,
    demonstration boolean not null,
    deadline timestamptz not null,
    closed boolean not null,
    latest text not null -- id of its last event: what submissions follow from
);
create table projection.member (
    government text collate "C" not null,
    person text collate "C" not null,
    role text not null check (role in ('lead', 'editor', 'viewer')),
    primary key (government, person)
);
create index member_person on projection.member (person);
create table projection.application (
    application text collate "C" primary key,
    cycle text collate "C" not null,
    version int not null,
    submitted text not null, -- id of that version's event: the close states these
    withdrawn boolean not null
);
create index application_cycle on projection.application (cycle);

-- Erasable, and in no public part of an event.
create table private.seed (
    cycle text collate "C" primary key,
    seed bytea not null -- by which reviewers will be assigned; the cycle's close reveals it
);
create table private.person (
    issuer text not null,
    subject text not null,
    person text collate "C" not null unique,
    primary key (issuer, subject)
);
create table private.government (
    government text collate "C" primary key,
    name text not null,
    state text not null,
    kind text not null,
    population bigint not null,
    population_source text not null,
    website text not null
);
create table private.draft (
    application text collate "C" primary key,
    cycle text collate "C" not null,
    government text collate "C" not null references private.government,
    revision int not null default 1,
    content jsonb not null default '{}',
    unique (cycle, government)
);
