"""What happens to a clip, pass by pass; `run` puts them one after the other."""
