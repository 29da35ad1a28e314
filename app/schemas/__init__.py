"""JSON shapes, one module per noun: parse what comes in, dump what goes out."""
