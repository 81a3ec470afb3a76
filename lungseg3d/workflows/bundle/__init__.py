"""What a bundle says of itself and of what it was trained on."""
