"""What Mosquitto leaves behind, for `noctule import mosquitto`.

`database` reads mosquitto.db, `state` makes of it what Noctule's store takes, `directives` reads
mosquitto.conf, and `translation` makes of that a noctule.toml and a list of what has no
counterpart. Nothing here writes into Mosquitto's files.
"""
