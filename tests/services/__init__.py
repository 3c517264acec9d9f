"""The real servers that the tests talk to: PostgreSQL and Valkey, started without being root and without being told."""
