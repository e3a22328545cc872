"""Looking at data, checking it, cleaning it, versions, previews, uploads."""
