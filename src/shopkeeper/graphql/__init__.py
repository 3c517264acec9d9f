"""The GraphQL API: one schema at `/graphql`, in the names and shapes of the published GraphQL Commerce client.

`products`, `carts`, `orders` and `me` each hold the types of one subject, with the queries and mutations that lead to
them; `schema` combines them, and `endpoint` answers requests.
"""
