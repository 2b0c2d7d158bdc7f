"""What a run counted and what a board measured: values every floor above may hold."""
