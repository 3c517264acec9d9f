"""The database's revisions, ordered by number. Alembic reads this folder; `storage/migrate.py` calls Alembic."""
