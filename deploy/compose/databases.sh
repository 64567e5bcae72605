#!/usr/bin/env bash
# Run by the image of PostgreSQL when its volume is new: one role and one database for each who needs one.
set -euo pipefail
password=${POSTGRES_PASSWORD:?the image sets it}
for name in ricefish mlflow; do
  psql --username postgres --set ON_ERROR_STOP=1 --set role="$name" --set password="$password" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
SQL
done
psql --username postgres --set ON_ERROR_STOP=1 --command 'CREATE DATABASE mlflow_users OWNER mlflow'
