-- A draft is its sections, each with a revision of its own, so that who edits one never waits for who edits another.
alter table private.draft drop column revision, drop column content;
create table private.section (
    application text collate "C" not null references private.draft on delete cascade,
    section text collate "C" not null,
    revision int not null default 0, -- how often it was changed
    content jsonb not null default '{}',
    size int not null default 0, -- bytes of its JSON
    person text collate "C", -- who changed it last, and when
    at timestamptz,
    primary key (application, section)
);

-- What was ever taken, field by field: what was there before is what the change before it left.
-- Without a reference to the draft, whose row every save would lock for the check.
create table private.change (
    application text collate "C" not null,
    change bigint generated always as identity,
    section text collate "C" not null,
    revision int not null, -- of the section, by this change
    person text collate "C" not null,
    at timestamptz not null,
    field text collate "C" not null, -- RFC 6901, in the draft's document
    after jsonb, -- null: the field was removed
    primary key (application, change)
);
create index change_field on private.change (application, field, change);

create table private.comment (
    application text collate "C" not null references private.draft on delete cascade,
    comment bigint generated always as identity,
    field text collate "C" not null,
    text text not null,
    person text collate "C" not null,
    at timestamptz not null,
    resolved_by text collate "C",
    resolved_at timestamptz,
    primary key (application, comment)
);
