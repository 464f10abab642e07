-- All of it follows from events: intake's, scoring's and this service's own.

create table projection.cycle (
    cycle text collate "C" primary key,
    charter text not null, -- TOML, as frozen in the cycle's first event
    demonstration boolean not null,
    submitted_count bigint, -- with the digest: the set of versions that are to be decided, known once the cycle is closed
    submitted_sha256 text,
    closed text, -- the id of the event that says so
    announce_on date,
    announced boolean not null default false
);

-- An application with its decision and, where it is designated, its designation.
create table projection.application (
    application text collate "C" primary key,
    cycle text collate "C" not null,
    version int not null,
    submitted text not null, -- event ids: of the highest version, the scores, the proposal, the decision, the grant
    identity jsonb not null,
    claims jsonb not null,
    withdrawn boolean not null,
    scored text,
    proposed text,
    outcome jsonb,
    made text,
    designation text collate "C" unique,
    granted text,
    starts_on date,
    ends_on date
);
create index application_cycle on projection.application (cycle);

-- What anyone may see. Both tables are empty of a cycle until its announcement, and public pages read nothing else.
create table projection.announcement (
    cycle text collate "C" primary key,
    event text not null,
    announced_on date not null,
    simulated boolean not null,
    designations int not null,
    content jsonb not null -- the announcement as it was worded then
);
create table projection.designee (
    designation text collate "C" primary key,
    cycle text collate "C" not null references projection.announcement,
    name text collate "C" not null,
    state text not null,
    kind text not null,
    tier text,
    tier_label text,
    level text not null,
    level_name text not null,
    starts_on date not null,
    ends_on date not null,
    renewal_from date, -- the day of the first renewal notice
    simulated boolean not null,
    submitted text not null, -- event ids of the application and of the grant
    granted text not null
);
create index designee_name on projection.designee (name, designation);
