"""What helps a reader to judge a result: explanation, uncertainty."""
