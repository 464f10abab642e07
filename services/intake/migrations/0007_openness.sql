-- Who took applications out of here, and as what. In machine time.
create table private.export_log (
    at timestamptz not null default clock_timestamp(),
    issuer text not null,
    subject text not null,
    what text not null, -- csv, xlsx, jsonl, or research
    cycle text not null, -- empty: all that are closed
    applications int not null
);

-- Erasable: who is to be told that a cycle is open.
create table private.invitee (
    invitee text collate "C" primary key,
    cycle text collate "C" not null,
    name text not null,
    state text not null,
    email text not null,
    added_at timestamptz not null,
    sent_at timestamptz -- when somebody told us that the invitation went out
);
create unique index invitee_address on private.invitee (cycle, lower(email));

-- Erasable: who asked is shown to nobody.
create table private.question (
    question text collate "C" primary key,
    cycle text collate "C" not null,
    person text collate "C" not null,
    asked_at timestamptz not null,
    asked text not null, -- in the asker's words
    shown text not null default '', -- in the words in which it is answered
    answer text not null default '',
    answered_at timestamptz,
    merged_into text collate "C" references private.question
);
create index question_cycle on private.question (cycle, asked_at);
create index question_person on private.question (person);
create index question_merged on private.question (merged_into);

create table private.charter_draft (
    draft text collate "C" primary key,
    title text not null,
    charter text not null,
    charter_sha256 text not null,
    published_at timestamptz not null,
    closes_at timestamptz not null,
    comments_public boolean not null -- once it is closed
);
create table private.charter_comment (
    comment text collate "C" primary key,
    draft text collate "C" not null references private.charter_draft,
    place text not null, -- of the charter, as its author names it
    text text not null,
    person text collate "C", -- null: nobody who signed in
    source bytea, -- by a key that no process keeps: of what comes too often
    at timestamptz not null,
    received timestamptz not null default clock_timestamp() -- machine time
);
create index charter_comment_draft on private.charter_comment (draft, received);

-- What became of an application's fee, step by step: the last one holds.
create table private.fee_step (
    application text collate "C" not null references private.draft on delete cascade,
    step int not null,
    state text not null check (state in ('due', 'waiver-asked', 'waived', 'paid')),
    ground text not null default '',
    reference text not null default '',
    note text not null default '',
    person text collate "C" not null,
    at timestamptz not null,
    primary key (application, step)
);

-- Whether a government lets partners read what it submitted, step by step: the last one holds.
create table private.research_consent (
    government text collate "C" not null references private.government,
    step int not null,
    consents boolean not null,
    person text collate "C" not null,
    at timestamptz not null,
    primary key (government, step)
);
