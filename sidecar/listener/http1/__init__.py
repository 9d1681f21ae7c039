"""The native front: HTTP/1.1 to the letter (RFC 9112), any method, trailers, half-close, one task a connection."""
