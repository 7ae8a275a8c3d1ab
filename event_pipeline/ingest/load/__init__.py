"""Loads your own files: reads them as they are, maps them by one SELECT, judges and writes them.

The steps of a load: `sources` finds the files. `unpacking` and `reading` turn each into the table
`input`, whose columns are texts. `mapping` maps it to a dataset's fields. `judging` finds out what
Silver would say of the rows. `writing` writes them to Bronze. `ledger` records what was written.
"""
