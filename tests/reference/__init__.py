"""High-precision values of the special functions, and the script that computes them."""
