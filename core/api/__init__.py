"""The HTTP surface: routes, keys, CORS, content codings, and the answers' JSON."""
