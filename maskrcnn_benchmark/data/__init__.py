"""Reading data sets and serving batches of them."""
