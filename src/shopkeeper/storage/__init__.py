"""The database and its unit of work, the cache, the outbox, the audit trail and the migrations."""
