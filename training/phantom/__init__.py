"""The synthetic fish: anatomy, canvas, imaging."""
