"""The connection of a command: from its settings to a session over a socket.

Blocking and on its own, where `noctule.client` would need asyncio: that import alone takes
half of the time that `noctule pub` has for its start. The protocol is `noctule.protocol`,
the same as the client's.
"""
