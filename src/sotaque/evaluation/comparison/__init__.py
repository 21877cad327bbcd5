"""Several models side by side: their chains made, their results read, refused where unlike, and shown."""
