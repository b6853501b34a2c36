"""The widgets of the lessons, a file each."""
