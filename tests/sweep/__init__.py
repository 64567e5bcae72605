"""A sweep: files of every format, drawn at random, read by Ricefish and by a reader that is not ours, and compared.

    python -m tests.sweep --files 3000

`drawing` writes files with the field's own libraries; `independent` says what these read of them; `comparison` says in
what Ricefish differs. docs/formats.md says where it does on purpose.
"""
