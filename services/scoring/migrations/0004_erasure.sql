-- By which event a question was answered: it is erased by that event's id.
alter table projection.question add column answered text;
