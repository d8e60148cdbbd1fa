"""Wire formats: Prometheus remote write 1.0 and Loki's push API, encoded and decoded."""
