"""What is explained: classes by name or number, and targets made of them."""
