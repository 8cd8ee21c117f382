"""The sample shop: what its workers share. A team's own workers would have a package like this one, or none."""
