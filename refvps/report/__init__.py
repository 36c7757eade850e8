"""Results for people: tables, contact sheets, overlays."""
