"""`python -m noctule` is the command `noctule`."""

from noctule.cli import main

if __name__ == "__main__":
    main()
