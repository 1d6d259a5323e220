"""What has still to leave: committed with the result, or staged, published, settled, recovered."""
