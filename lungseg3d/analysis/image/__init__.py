"""What an image is like as a whole: acquisition and orientation."""
