"""Differential privacy: clipped sums, Gaussian noise, exact composition and the ledger; no torch.

`clipping` bounds what one image or one patient adds to a sum, `noise` draws from the operating
system's entropy, `mechanisms` puts the two together, `accountant` says what that promises, and
`ledger` adds up the runs on the same data. The proofs are in docs/private.md.
"""
