-- Rebuilt from events.
create table projection.cycle (
    cycle text collate "C" primary key,
    charter text not null, -- the TOML, exactly as given
    commitment text not null, -- SHA-256 (hex) of the seed
    opened text not null, -- id of the event
    closed text, -- id of the event
    seed bytea,
    submitted_count bigint,
    submitted_sha256 text,
    assigned boolean not null default false
);
create table projection.application (
    application text collate "C" primary key,
    cycle text collate "C" not null references projection.cycle,
    version int not null,
    submitted text not null, -- id of that version's event
    withdrawn boolean not null default false,
    identity jsonb not null,
    claims jsonb not null,
    answers jsonb not null,
    claimed text[] not null -- the criteria that it says do not apply
);
create index application_cycle on projection.application (cycle);
create table projection.reviewer (
    reviewer text collate "C" primary key,
    cycle text collate "C" not null references projection.cycle,
    states text[] not null
);
create index reviewer_cycle on projection.reviewer (cycle);
create table projection.review (
    review text collate "C" primary key, -- the reviewer's alias at this application
    application text collate "C" not null references projection.application,
    reviewer text collate "C" not null references projection.reviewer,
    unique (application, reviewer)
);
create index review_reviewer on projection.review (reviewer);
-- What came in is added and never changed: a row of its own costs a fraction of writing a seat's or an application's anew.
create table projection.given (
    review text collate "C" primary key,
    event text not null, -- its id
    points text not null, -- canonical JSON: by criterion
    recommendation boolean not null
);
create table projection.scored (
    application text collate "C" primary key,
    event text not null -- its id
);

-- Who a reviewer is, and the keys that sign for them: erasable, and in no event.
create table private.reviewer (
    reviewer text collate "C" primary key references projection.reviewer,
    cycle text collate "C" not null,
    issuer text not null,
    subject text not null,
    name text not null,
    unique (cycle, issuer, subject)
);
create table private.key (
    kid text collate "C" primary key, -- RFC 7638 thumbprint
    reviewer text collate "C" not null references projection.reviewer,
    jwk jsonb not null,
    registered_at timestamptz not null default clock_timestamp()
);
create index key_reviewer on private.key (reviewer);

-- Every command of a known sender, for ever, and each other payload that came under the same id.
create table private.command (
    command uuid primary key,
    payload_sha256 bytea not null
);
create table private.reused (
    command uuid not null,
    payload_sha256 bytea not null,
    primary key (command, payload_sha256)
);

-- Why the last attempt to assign a cycle's reviewers failed.
create table private.shortage (
    cycle text collate "C" primary key,
    problem text not null
);
