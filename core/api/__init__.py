"""The HTTP API: routes, API keys, CORS, content codings, and the JSON of responses."""
