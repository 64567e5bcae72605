"""A Python client of the server: `Client` posts scans, follows them and fetches what came of them."""

from ricefish.client.client import Client, ScanStatus
from ricefish.client.connection import RicefishError

__all__ = ["Client", "RicefishError", "ScanStatus"]
