"""What grows? Bytes that running code allocates, by the variable they are for."""
