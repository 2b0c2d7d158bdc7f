"""The float model beside the integer network made from it."""
