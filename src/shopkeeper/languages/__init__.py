"""The languages that shoppers read: which one a reader gets, and the catalogues of translations."""
