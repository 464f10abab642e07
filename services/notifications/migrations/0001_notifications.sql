-- What notices are written from: cycles with their rules, designations as they were granted.
create table projection.cycle (
    cycle text collate "C" primary key,
    charter text not null,
    demonstration boolean not null,
    announced boolean not null default false
);
create table projection.designation (
    designation text collate "C" primary key,
    cycle text collate "C" not null,
    header jsonb not null,
    public jsonb not null
);
create index designation_cycle on projection.designation (cycle);

-- The sealed blocks of a designation, by block.
create table private.opening (
    designation text collate "C" primary key,
    blocks jsonb not null
);

create table private.subscription (
    subscription text collate "C" primary key,
    position bigint generated always as identity unique,
    issuer text not null,
    subject text not null, -- the token's `sub`
    url text not null,
    secret text, -- forgotten once nothing is sent any more
    filters jsonb not null,
    state text not null default 'pending' check (state in ('pending', 'confirmed', 'failed', 'disabled', 'cancelled')),
    reason text not null default '',
    created_at timestamptz not null,
    failing_since timestamptz,
    failed_at timestamptz
);
create index subscription_owner on private.subscription (issuer, subject, position);

-- A body, serialised once for all who get it: of an event (by its id), or of one subscription's challenge.
create table private.message (
    message text collate "C" primary key,
    kind text not null check (kind in ('award', 'renewal-due', 'expiry', 'announcement', 'challenge')),
    subject text collate "C" not null,
    body bytea not null
);

-- A message on its way to a subscriber. All instants are machine time.
create table private.delivery (
    notice text collate "C" primary key, -- the webhook-id
    position bigint generated always as identity,
    subscription text collate "C" not null references private.subscription,
    message text collate "C" not null references private.message,
    subject text collate "C" not null, -- the message's: order is kept per subscription and subject
    state text not null default 'pending' check (state in ('pending', 'delivered', 'failed', 'dropped')),
    tries int not null default 0, -- in the present round: a replay begins a new one
    attempts int not null default 0, -- in all rounds
    due timestamptz not null default '-infinity',
    lease text, -- who is at it
    leased_until timestamptz, -- after this, whoever held the lease is taken for dead
    unique (subscription, message)
);
create index delivery_due on private.delivery (due, subscription) where state = 'pending';
create index delivery_order on private.delivery (subscription, subject, position) where state = 'pending';

create table private.attempt (
    position bigint generated always as identity primary key,
    notice text collate "C" not null references private.delivery,
    number int not null,
    at timestamptz not null,
    status int, -- null: no answer
    reason text not null, -- empty: delivered
    next_at timestamptz,
    unique (notice, number)
);
