-- Follows from events: whether the screening ended; the request to withdraw, and how the board settled it.
alter table projection.cycle add column screened boolean not null default false;
alter table projection.application
    add column asked text, -- event ids
    add column settled text,
    add column released boolean not null default false;

-- Erasable: what was said with a request to withdraw, and in answer to it.
create table private.withdrawal (
    application text collate "C" primary key,
    event text collate "C" not null, -- of the request
    reason text not null,
    asked_at timestamptz not null,
    settled text collate "C", -- event of the answer
    answer text not null default ''
);
