"""HTTP: the request pipeline, the operators' endpoints, and the pages."""
