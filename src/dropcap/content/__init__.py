"""Does a file look cut off? By its content, bounded, and never at the cost of a whole file: what is not known is whole."""
