"""What anyone may look up before applying: the form that a charter asks for, and where one would stand."""
