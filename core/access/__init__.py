"""Access: who may do what. API keys and their scopes, the keys file, local requests.

``key_ring`` decides; ``api_key`` and ``keys_file`` say what a key is; ``offered_keys`` finds the
keys of a request. Nothing here knows a route.
"""
