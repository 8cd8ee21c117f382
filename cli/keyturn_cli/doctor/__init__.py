"""`keyturn doctor`: one module for each group of checks, each a function that yields findings and changes nothing."""
