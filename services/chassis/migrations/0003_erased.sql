-- Digests of openings that were erased: one that comes later, from wherever it lay, is not kept any more.
create table chassis.erased (
    digest text collate "C" primary key
);
