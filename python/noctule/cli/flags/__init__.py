"""The options of `pub`, `sub` and `rr`: Mosquitto's, from one table.

`table` is the source of the parser, of `--help`, of the man pages and of the completions.
Nothing here imports click: a publisher in a shell loop pays for every import.
"""
