"""Programs that read an export without this package, one for each form; run by path in a process of their own."""
