"""Bring your own files: read as they are, mapped by one SELECT, judged, then written to Bronze.

The way of a load: `sources` finds the files, `unpacking` and `reading` make of each the table
`input` of texts, `mapping` maps it to a dataset's fields, `judging` says what Silver would say of
the rows, `writing` writes them, and `ledger` remembers what was written.
"""
