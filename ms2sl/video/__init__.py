"""Films: their pictures, and the keypoints of whoever signs in them."""
