"""The subcommands of `munet`, by what they are about; each module's `add` tells the parser of its own."""
