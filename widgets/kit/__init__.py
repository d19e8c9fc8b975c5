"""What every instrument shares: the base class, the look, number formats, and plain ES modules for the drawing."""
