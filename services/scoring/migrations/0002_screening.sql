-- Rebuilt from events: what the screening of a cycle left to review, and what was asked and answered in it.
alter table projection.cycle
    add column eligible_count bigint,
    add column eligible_sha256 text;
create table projection.question (
    question text collate "C" primary key, -- id of the event
    application text collate "C" not null,
    text text not null,
    due timestamptz,
    answer text
);
create index question_application on projection.question (application, question);
