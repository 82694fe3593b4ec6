"""What every op is made of: rows and tiles of them, and calls that are worked out once.

calls.py   a call: what it allocates and launches, kept for the next of the same kind
rows.py    tensors as rows, and how large blocks of rows are
tiles.py   reading and writing tiles, in kernels
body.py    the same for rows that start anywhere in their 16 bytes
refuse.py  refusing arguments in the words of the compiled kernels
table.py   numbers that kernels read from memory
"""
