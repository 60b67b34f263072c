"""One file for each wire protocol: its bodies, its two translations, its routes and the shape of its errors."""
