"""The upstream: a client for the knowledge API of Dify."""
