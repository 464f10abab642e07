"""What a government says of itself: a draft, its submission, amendment and withdrawal."""
