"""Binary masks: packed bits, compressed RLE, PNG files and the boundary measure on packed bits."""
