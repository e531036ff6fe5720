"""Every frame of a network interface, in hexadecimal, a line for each; run in its namespace.

Ends at the end of its input, with all that came before it.
"""

import select
import socket
import sys

ALL_PROTOCOLS = 0x0003
# Of Linux, for root: more than the system allows others.
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 64 << 20


def main(interface: str) -> None:
    """Until the input ends."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    wire.bind((interface, 0))
    print("listening", flush=True)
    ready: list[object] = []
    while wire in ready or sys.stdin not in ready:
        ready, _, _ = select.select([wire, sys.stdin], [], [])
        if wire in ready:
            print(wire.recv(65_535).hex())


if __name__ == "__main__":
    main(sys.argv[1])
