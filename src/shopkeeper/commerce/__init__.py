"""Where carts, orders and the engine's customers live."""
