"""``python -m variolite``: the program where its own name is not on the path."""

from variolite.cli import main

if __name__ == "__main__":
    main()
