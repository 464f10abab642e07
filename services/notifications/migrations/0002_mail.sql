-- A letter to a reader about an event. `due`, `at` and leases are machine time, `until` program time.
create table private.mail (
    mail text collate "C" primary key, -- follows from event and reader; the local part of its Message-ID
    position bigint generated always as identity unique,
    event text collate "C" not null,
    kind text not null check (kind in
        ('reminder', 'invitation', 'receipt', 'question', 'withdrawn', 'withdrawal-refused')),
    about text collate "C" not null, -- an application, or an invitee on the program's list
    cycle text collate "C" not null,
    email text, -- null once nothing is sent any more, as what it says
    address bytea not null, -- the address's fingerprint; empty once it was erased
    said jsonb,
    until timestamptz, -- after this it is of no use
    stop text collate "C" not null unique, -- by which its reader says that it wants no more
    state text not null default 'pending' check (state in ('pending', 'sent', 'failed')),
    why text not null default '',
    tries int not null default 0,
    due timestamptz not null default '-infinity',
    at timestamptz, -- of the last attempt
    lease text,
    leased_until timestamptz -- after this, whoever held the lease is taken for dead
);
create index mail_due on private.mail (due, position) where state = 'pending';
create index mail_event on private.mail (event);

-- Addresses that want no more reminders and invitations.
create table private.mail_stop (
    address bytea primary key,
    at timestamptz not null
);

-- Where letters about an application go: what its last version says.
create table private.official (
    application text collate "C" primary key,
    event text collate "C" not null, -- of that version
    email text not null,
    government text not null
);
create index official_event on private.official (event);
