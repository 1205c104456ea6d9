"""The configuration file: read once into the objects that the parts own, with every problem told at once."""
