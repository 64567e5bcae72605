"""The HTTP interface: routes translate, the rooms below decide; errors are problem documents."""
