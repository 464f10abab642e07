-- Rebuilt from events: what governments' Open311 servers say, and when an application was submitted.
create table projection.probe (
    probe text collate "C" primary key,
    government text collate "C" not null,
    sequence bigint not null, -- of the event: in which order the government's probes were made
    event text not null,
    probed_at timestamptz not null,
    claims jsonb not null
);
create index probe_government on projection.probe (government, sequence);
alter table projection.application add column submitted_at timestamptz not null default '-infinity';
alter table projection.application alter column submitted_at drop default;
