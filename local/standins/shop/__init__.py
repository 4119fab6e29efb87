"""Stands in for Shopify's shops, any number of them: the Admin API, tokens, staged uploads, and the picture CDN.

What it knows of the protocol it has from Shopify's documentation and from the schema of API version 2026-10, of which
`shop.graphql` is the part spoken here. The first part of every path is the shop's domain:

    POST /{shop}/admin/oauth/access_token            the client credentials grant
    POST /{shop}/admin/api/2026-10/graphql.json
    POST /{shop}/staged-uploads/                     takes the bytes for a target of `stagedUploadsCreate`
    GET  /{shop}/cdn/files/{name}

Tests arrange shops and look into them, and the merchant's hand is theirs too (products and pictures are named by the
number in their global id):

    POST /_shops (NewShop), and GET, PATCH (Settings) /_shops/{shop}
    POST /_shops/{shop}/revoke
    DELETE /_shops/{shop}/products/{number}, and POST …/products/{number}/media (NewPicture)
    PATCH /_shops/{shop}/media/{number} {"alt": "…"}, and DELETE

Faults may also name a `shop` and an `operation` (the GraphQL operation's name, or a field of it such as `fileCreate`);
their `match` is sought in the query and its variables. A fault of the connection without `on` hits the GraphQL API;
`on` may be `token`, `upload` or `cdn` instead. Besides those that every stand-in has there are

    throttled           THROTTLED; with `status` 429 as HTTP 429, and Retry-After (`seconds`)
    processing_failed   a new picture ends as FAILED, with `code` and `message`
    user_error          a mutation does nothing, and answers a user error with `code` and `message`
    partial             `fileUpdate` refuses the last file, with `code` and `message`, and updates the others
"""
