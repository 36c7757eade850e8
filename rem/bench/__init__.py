"""What REM costs: floating-point operations, time, memory, hours of training (paper, section B, Tables C and D)."""
