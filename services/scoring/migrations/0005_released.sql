-- Rebuilt from events: applications that the board gave back after the deadline. Nobody reads or reviews them any more.
create table projection.released (
    application text collate "C" primary key,
    event text not null
);
