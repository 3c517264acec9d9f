"""Who somebody is: the schema of their traits, the identity, its addresses and credentials."""
