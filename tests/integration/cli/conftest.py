"""Debian's Mosquitto with TLS, WebSocket and a Unix socket, as the client's tests have it."""

from tests.integration.client.conftest import mosquitto

__all__ = ["mosquitto"]
