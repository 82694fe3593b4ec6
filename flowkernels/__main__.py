"""``python -m flowkernels`` runs the ``flowkernels`` command."""

from flowkernels.experiments.cli import main

if __name__ == "__main__":
    main()
