"""The sections of the page, one file each: from records to values for a partial, and charts."""
