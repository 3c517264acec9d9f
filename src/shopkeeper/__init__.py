"""Shopkeeper: the customer account and access server for headless shops."""

from importlib.metadata import version

__version__ = version("shopkeeper")
