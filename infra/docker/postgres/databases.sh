#!/usr/bin/env bash
# Run once by the postgres image, on an empty volume: one role and one database each for MLflow and Prefect.
set -euo pipefail

make_database() {
  psql --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
    --set=name="$1" --set=password="$2" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
}

make_database mlflow "$MLFLOW_DATABASE_PASSWORD"
make_database prefect "$PREFECT_DATABASE_PASSWORD"

# Prefect searches names by trigrams; only a superuser may add the extension.
psql --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname prefect \
  --command 'CREATE EXTENSION IF NOT EXISTS pg_trgm'
