"""The real servers of the tests: PostgreSQL and Valkey, started without root and without configuration."""
