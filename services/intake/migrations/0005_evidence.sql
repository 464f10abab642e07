-- Erasable: what applicants uploaded. A content is kept once, whoever refers to it.
create table private.content (
    sha256 text collate "C" primary key,
    bytes bigint not null,
    touched timestamptz not null -- machine time: what somebody is about to refer to is not swept
);
create table private.file (
    application text collate "C" not null references private.draft on delete cascade,
    sha256 text collate "C" not null references private.content,
    name text not null,
    type text not null, -- media type
    criterion text not null, -- that it was uploaded for, or empty
    person text collate "C" not null,
    at timestamptz not null, -- program time
    frozen boolean not null default false, -- a submitted version cites it
    primary key (application, sha256)
);
create index file_content on private.file (sha256);
create table private.upload (
    upload text collate "C" primary key,
    application text collate "C" not null references private.draft on delete cascade,
    name text not null,
    kind text not null,
    criterion text not null,
    length bigint not null,
    received bigint not null default 0,
    person text collate "C" not null,
    expires timestamptz not null, -- machine time
    sha256 text collate "C" -- of the file that it became
);
create index upload_application on private.upload (application);
create table private.piece (
    upload text collate "C" not null references private.upload on delete cascade,
    start bigint not null,
    sha256 text not null,
    primary key (upload, start)
);

-- What to look at again, to remove it from the archive where nothing refers to it.
create table private.sweep (
    kind text not null check (kind in ('content', 'upload')),
    name text collate "C" not null,
    due timestamptz not null, -- machine time
    primary key (kind, name)
);
create index sweep_due on private.sweep (due);

-- Erasable: the links of drafts, and what was found there. In machine time.
create table private.link (
    application text collate "C" not null,
    section text collate "C" not null,
    url text collate "C" not null,
    host text collate "C" not null,
    due timestamptz not null,
    busy_until timestamptz not null default '-infinity', -- until then, nobody else asks this host
    state text not null default 'unchecked' check (state in ('unchecked', 'reachable', 'unclear', 'broken')),
    status int,
    reason text not null default '',
    title text not null default '', -- as last seen
    failures int not null default 0, -- in a row
    checked_at timestamptz,
    seen_at timestamptz, -- when it was last reachable
    primary key (application, section, url),
    foreign key (application, section) references private.section on delete cascade
);
create index link_due on private.link (due);
create index link_busy on private.link (host, busy_until);
