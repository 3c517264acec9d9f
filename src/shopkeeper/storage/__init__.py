"""Where things are kept: the database and its unit of work, the cache, the outbox, the migrations."""
