"""The cache port and its two implementations: in process, and Valkey or Redis."""
