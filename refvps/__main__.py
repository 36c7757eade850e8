"""``python -m refvps``."""

from refvps.cli import main

if __name__ == "__main__":
    main()
