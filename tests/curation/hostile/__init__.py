"""Videos, tables, tars and folders that are broken or made to harm."""
