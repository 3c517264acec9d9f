"""Completing a sign-in: the session, the configured hooks, and the guest's cart merged into the customer's."""
