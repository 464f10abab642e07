-- The blocks of a version that were erased since: its content goes on without them.
alter table private.version add column erased text[] not null default '{}';
