"""Source videos: decoded frames with exact times, the tick rule, fingerprints of pictures."""
