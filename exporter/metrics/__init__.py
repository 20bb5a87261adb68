"""From objects to the page that Prometheus scrapes."""
