"""Bad input and corruption: what a venue, a wire or a disk can hand us, and what must never come of it.

``python -m tests.fuzz`` runs all of it and prints its figures; the tests beside this file are slices of it.
"""
