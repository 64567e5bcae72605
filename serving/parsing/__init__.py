"""Parsing: text that comes from outside becomes numbers, bytes and documents, or is refused in words.

Whatever a request says in a header, a path, a query, a form or JSON comes through here, so that no number, encoding,
name or depth that nobody thought of ends as an error of the server's own.
"""
