"""The GraphQL door: one schema at `/graphql`, in the names and shapes of the published GraphQL Commerce client.

A shelf (`products`, `carts`, `orders`, `me`) holds the types of one subject with the queries and mutations that lead to
them; `schema` puts the shelves together, `door` answers requests.
"""
