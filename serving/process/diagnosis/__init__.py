"""Diagnosis: what `ricefish doctor` looks at, on the machine and with the settings that a server would have."""

from serving.observability.findings import Finding, Level
from serving.process.diagnosis.examination import FULL_SCAN_BYTES, examine
from serving.process.diagnosis.store_audit import audit

__all__ = ["FULL_SCAN_BYTES", "Finding", "Level", "audit", "examine"]
