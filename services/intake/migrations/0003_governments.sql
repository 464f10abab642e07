-- Follows from events: what the program made of a government. Who is not here, nobody has looked at.
create table projection.standing (
    government text collate "C" primary key,
    standing text not null check (standing in ('unconfirmed', 'confirmed', 'merged')),
    merged_into text collate "C",
    check ((standing = 'merged') = (merged_into is not null))
);
create index standing_merged on projection.standing (merged_into);

alter table private.government
    add column population_year int,
    add column email_domain text not null default '',
    add column revision int not null default 1, -- of the profile: its ETag
    add column registered timestamptz not null default clock_timestamp();
create index government_registered on private.government (registered, government);
create index government_domain on private.government (email_domain) where email_domain <> '';

-- Beside `person`, which stands for somebody everywhere else: the one place of a name and an address.
alter table private.person
    add column name text not null default '',
    add column email text not null default '';

-- What happened to a government and its people, for them to read. People by their ids.
create table private.government_history (
    number bigint generated always as identity primary key,
    government text collate "C" not null references private.government,
    at timestamptz not null,
    by_person text collate "C", -- null: the program
    what text not null,
    detail jsonb not null
);
create index government_history_newest on private.government_history (government, number);

create table private.invitation (
    invitation text collate "C" primary key,
    government text collate "C" not null references private.government,
    token_sha256 bytea not null unique, -- the token itself is shown once and kept nowhere
    role text not null check (role in ('lead', 'editor', 'viewer')),
    email text not null, -- of the person invited; may be empty
    invited_by text collate "C" not null,
    invited_at timestamptz not null,
    expires_at timestamptz not null,
    accepted_by text collate "C",
    revoked boolean not null default false
);
create index invitation_government on private.invitation (government, invited_at);
create index invitation_email on private.invitation (lower(email)) where email <> '';

create table private.recovery (
    recovery text collate "C" primary key,
    government text collate "C" not null references private.government,
    person text collate "C" not null,
    email_domain text not null, -- of the address that the person's token proved
    reason text not null,
    asked_at timestamptz not null,
    state text not null default 'open' check (state in ('open', 'approved', 'refused')),
    decided_at timestamptz,
    answer text not null default ''
);
create unique index recovery_open on private.recovery (government, person) where state = 'open';
create index recovery_person on private.recovery (person);
