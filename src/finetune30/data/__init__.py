"""From files and hub sets to rows that a training may use: every row with its place, every lost row in the ledger."""
