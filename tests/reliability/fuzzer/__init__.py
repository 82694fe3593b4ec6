"""Random calls of everything public, judged by the oracle: each is made of its number alone."""
