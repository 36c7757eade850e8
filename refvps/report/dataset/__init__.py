"""A data set on paper: its table (:mod:`table`), its clip lengths (:mod:`lengths`), its :mod:`funnel`."""
