"""rem-tiny: a REM that was trained from scratch on a CPU, small enough to ship and to test with."""
