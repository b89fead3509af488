"""Metal-organic frameworks: from CIF files to records, from records to new structures."""
