"""Tokens that are not sessions: sealed anonymous ones, and the rotation of those that may be refreshed."""
