"""Ways of proving who one is, one file each."""
