"""``python -m flowkernels``: the same as the command ``flowkernels``."""

from flowkernels.cli import main

if __name__ == "__main__":
    main()
