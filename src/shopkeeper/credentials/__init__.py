"""Credential methods: the ways of proving an identity, one file each."""
