"""Identities: their schemas and traits, addresses and credentials."""
