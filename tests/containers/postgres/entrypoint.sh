# The superuser POSTGRES_USER with POSTGRES_PASSWORD; POSTGRES_DB must be `postgres`, which is there anyway.
set -eu
umask 077
printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
initdb --username "$POSTGRES_USER" --pwfile /tmp/password --auth scram-sha-256 --encoding UTF8 --no-sync
rm /tmp/password
echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
exec "$@" -c listen_addresses='*'
