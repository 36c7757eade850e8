"""Commands about data sets: what they hold, where it comes from, how it is written."""
