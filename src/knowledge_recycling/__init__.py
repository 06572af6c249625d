"""Knowledge Recycling."""
