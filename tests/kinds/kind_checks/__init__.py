"""What every kind of layer is held against."""
