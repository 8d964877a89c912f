#!/bin/bash
# Entry point of the stand-in for the official PostgreSQL image (see base.sh): does what that one does with the settings
# that docker-compose.yml gives it. Runs as user postgres.
set -euo pipefail

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" >"$password"
    # shellcheck disable=SC2086  # several arguments, as in the official image
    initdb --username="$POSTGRES_USER" --pwfile="$password" --auth-local=trust --auth-host=scram-sha-256 \
        ${POSTGRES_INITDB_ARGS:-}
    rm "$password"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses=''" start
    database=${POSTGRES_DB:-$POSTGRES_USER}
    createdb --username="$POSTGRES_USER" "$database"
    for script in /docker-entrypoint-initdb.d/*.sql; do
        psql --username="$POSTGRES_USER" --dbname="$database" --no-psqlrc -v ON_ERROR_STOP=1 --file="$script"
    done
    pg_ctl --wait --mode=fast stop
fi
exec "$@" -c "listen_addresses=*"
