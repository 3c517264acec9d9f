"""The embedded shop: catalogue, carts, orders and customers in our own database."""
