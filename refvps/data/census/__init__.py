"""What a data set holds, counted: :mod:`statistics`, its :mod:`funnel`, the :mod:`versions` in print, :mod:`check`."""
