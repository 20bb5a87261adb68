"""How one request reaches a server: connections, deadlines, size limits, refusals."""
