"""The revisions of the database, oldest first by number. Alembic reads this folder; `storage/migrate.py` drives it."""
