"""The build of the compiled parts; setup.py and `make wheels` use it."""
