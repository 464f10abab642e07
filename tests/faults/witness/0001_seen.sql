-- Without any constraint: an effect that happens twice is there twice.
create table projection.seen (
    place bigint generated always as identity, id text, source text, subject text, sequence bigint
);
