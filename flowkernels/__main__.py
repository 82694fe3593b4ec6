"""``python -m flowkernels`` runs the ``flowkernels`` command."""

from flowkernels.cli import main

if __name__ == "__main__":
    main()
