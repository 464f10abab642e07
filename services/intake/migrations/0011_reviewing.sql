-- Follows from scoring's events: who may read what of the applications' evidence.
create table projection.reviewer (
    reviewer text collate "C" primary key,
    cycle text collate "C" not null,
    issuer text not null,
    subject text not null,
    event text not null -- whose sealed block says the account
);
create table projection.review (
    review text collate "C" primary key, -- the reviewer's alias at this application
    application text collate "C" not null,
    reviewer text collate "C" not null,
    event text not null
);
create index review_application on projection.review (application);
