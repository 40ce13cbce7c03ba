"""Raw formats of the world, one file each, found by its name.

A format has `EXAMPLE` (a record), `matches(record)` (why the record looks like this format, or None),
`convert(record, options)` (its conversations; raises RecordError for a malformed record), and may have `COLUMNS` (names
for tables without a header line). A conversation's id is the record's own or ""; the caller fills in the rest.
"""
