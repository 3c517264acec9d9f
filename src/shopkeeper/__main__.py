"""`python -m shopkeeper` is the command `shopkeeper`."""

from shopkeeper.cli import main

main()
