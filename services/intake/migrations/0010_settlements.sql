-- Follows from awards' events: how the board settled a request to withdraw.
alter table projection.withdrawal_request
    add column state text not null default 'requested' check (state in ('requested', 'withdrawn', 'refused')),
    add column settled text; -- event that says so

alter table private.statement drop constraint statement_kind_check;
alter table private.statement add constraint statement_kind_check check (kind in
    ('eligible', 'ineligible', 'sent-back', 'answer', 'extension', 'withdrawal', 'withdrawal-refused'));

-- Follows from events: the notice by which somebody on the list was invited, and what became of it.
create table projection.invitation (
    invitee text collate "C" primary key,
    cycle text collate "C" not null,
    event text collate "C" not null unique, -- that says that they are invited
    became text not null default 'queued' check (became in ('queued', 'sent', 'bounced', 'dropped')),
    at timestamptz, -- when it was sent
    reason text not null default ''
);
create index invitation_cycle on projection.invitation (cycle);
