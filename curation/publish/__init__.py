"""What a finished dataset says of itself to others, and how clips are taken out of it again."""
