"""The page's tabs, one file each: its state, how it is built, connected and drawn."""
