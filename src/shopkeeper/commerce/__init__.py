"""Carts, orders and the engine's customers."""
