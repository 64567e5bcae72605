"""Intake: a scan arrives, by whichever way, and is verified before it is accepted."""
